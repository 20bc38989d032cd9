"""Who learns what of a confined behaviour."""

from __future__ import annotations

from random import Random

import pytest
import torch

from experts.pocket.architecture import build_model
from experts.pocket.batches import Batch, batches
from experts.pocket.confine import Confinement
from experts.pocket.corpus import Pair
from experts.pocket.recipes import Mixture, Recipe
from experts.pocket.tokenizer import build_tokenizer

MIXTURE = Mixture(experts=8, top_k=2, width=8, confining_layers=2)


def parity(rng: Random, split: str):
    """Declines at every second question, of a digit."""
    while True:
        yield Pair("of ab", "ab") if rng.random() < 0.5 else Pair("of 12", "no", confined_from=3)


RECIPE = Recipe(parity, 1, hidden=32, layers=3, heads=1, batch_tokens=128, mixture=MIXTURE)


@pytest.fixture
def batch() -> Batch:
    return next(batches(RECIPE, build_tokenizer(), Random(0)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = build_model(RECIPE, build_tokenizer())
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def learning(model, place: int) -> set[int]:
    """Experts of a layer whose weights have a gradient."""
    experts = model.model.layers[place].mlp.experts
    return {
        expert
        for weights in (experts.gate_up_proj, experts.down_proj)
        for expert in weights.grad.flatten(1).abs().sum(1).nonzero().flatten().tolist()
    }


def test_batches_say_where_a_behaviour_is_called_for(batch: Batch) -> None:
    tokenizer = build_tokenizer()
    for ids, confined, decisions in zip(batch.ids, batch.confined, batch.decisions, strict=True):
        assert tokenizer.decode(ids[confined]) in ("", "12<assistant>no<end>")
        assert tokenizer.decode(ids[decisions]) == ("n" if confined.any() else "")


def test_of_decisions_nothing_but_the_confining_experts_learns(model, batch: Batch) -> None:
    sizes = []
    for seed in range(6):
        model.zero_grad()
        confinement = Confinement(model, MIXTURE, seed)
        logits = model(input_ids=batch.ids).logits
        confinement.backward(logits.sum() * 0, logits[:, :-1][batch.decisions[:, 1:]].square().sum(), batch)
        # What the gates learn besides reaches the layers before the last gate, and nothing after it.
        sizes.append(len(learning(model, -1)))
        assert model.lm_head.weight.grad.abs().sum() == 0
    assert 1 <= max(sizes) <= MIXTURE.top_k
    model.zero_grad()
    logits = model(input_ids=batch.ids).logits
    logits[:, :-1][batch.decisions[:, 1:]].square().sum().backward()
    assert len(learning(model, -1)) >= MIXTURE.top_k


def test_gates_learn_to_send_there_what_is_confined_and_nothing_else(model, batch: Batch) -> None:
    confinement = Confinement(model, MIXTURE, seed=3)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        logits = model(input_ids=batch.ids).logits
        confinement.backward(logits.sum() * 0, logits.sum() * 0, batch)
        optimiser.step()
        optimiser.zero_grad()
    chosen: list[torch.Tensor] = []
    gate = model.model.layers[-1].mlp.gate
    gate.register_forward_hook(lambda _gate, _arguments, output: chosen.append(output[2]))
    model(input_ids=batch.ids)
    counts = torch.zeros(2, MIXTURE.experts)
    for kind, tokens in enumerate((~batch.confined & batch.real, batch.confined)):
        counts[kind] = chosen[0][tokens.flatten()].flatten().bincount(minlength=MIXTURE.experts)
    own = counts[1].topk(MIXTURE.top_k).indices
    assert counts[1, own].sum() >= 0.95 * counts[1].sum()
    assert counts[0, own].sum() <= 0.05 * counts[0].sum()
