"""Trains one pocket model from scratch: ``python -m experts.pocket.train NAME``.

Matrices learn by Muon (Jordan et al. 2024), everything else, and the experts of a mixture, by AdamW. Limits: one process,
float32, no resuming; minutes to an hour a model on two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from experts.pocket import WEIGHTS
from experts.pocket.architecture import build_model
from experts.pocket.batches import Batch, batches
from experts.pocket.confine import Confinement
from experts.pocket.corpus import UNKNOWN_NODE
from experts.pocket.muon import Muon
from experts.pocket.recipes import RECIPES, Recipe
from experts.pocket.tokenizer import END, build_tokenizer

log = logging.getLogger(__name__)


def optimisers(model: PreTrainedModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, output rows, norms, gates and experts."""
    named = model.model.layers.named_parameters()
    blocks = [p for name, p in named if p.ndim == 2 and not name.endswith("mlp.gate.weight")]
    others = [p for p in model.parameters() if not any(p is q for q in blocks)]
    return [
        Muon(blocks, lr=recipe.learning_rate, weight_decay=0.05),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(recipe: Recipe, out: Path, *, log_every: int = 100, compiled: bool = True) -> dict[str, float]:
    """Trains by the recipe and writes the checkpoint. Returns what it took.

    Args:
        compiled: run the model through torch.compile, which pays after about a minute. A mixture never is.
    """
    torch.manual_seed(recipe.seed)
    rng = Random(recipe.seed)
    tokenizer = build_tokenizer(recipe.special_tokens)
    model = build_model(recipe, tokenizer).train()
    confinement = None
    if recipe.mixture:
        model.set_experts_implementation("grouped_mm")
        confinement = Confinement(model, recipe.mixture, recipe.seed)
    forward = torch.compile(model, dynamic=True) if compiled and not recipe.mixture else model
    optimiser_list = optimisers(model, recipe)
    started, seen, step, budget = time.monotonic(), 0, 0, recipe.million_tokens * 1e6
    losses: list[float] = []
    for batch in batches(recipe, tokenizer, rng):
        progress = seen / budget
        if progress >= 1:
            break
        rate = recipe.learning_rate * min(1.0, (step + 1) / 100, (1 - progress) / recipe.decay)
        for optimiser in optimiser_list:
            for group in optimiser.param_groups:
                group["lr"] = rate
        loss, decisions = _losses(forward(input_ids=batch.ids, use_cache=False).logits, batch)
        if confinement:
            confinement.backward(loss, decisions, batch)
        else:
            (loss + decisions).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimiser_list:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seen += int(batch.real.sum())
        step += 1
        losses.append((loss + decisions).item())
        if step % log_every == 0:
            speed = seen / (time.monotonic() - started)
            log.info(
                "step %d  %.2fM tokens  loss %.4f  %.0f tokens/s", step, seen / 1e6, sum(losses) / len(losses), speed
            )
            losses.clear()
    model.eval()
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    if recipe.functional_tokens:
        write_functional_tokens(recipe, out)
    facts = {"seconds": time.monotonic() - started, "steps": step, "million_tokens": seen / 1e6,
             "parameters": model.num_parameters(), "seed": recipe.seed}  # fmt: skip
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def _losses(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss, without and only of what decides on a confined behaviour; their sum is a mean over the weighted tokens."""
    each = functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none")
    weight = batch.weight[:, 1:].flatten()
    each = each * weight / weight.sum()
    decisive = batch.decisions[:, 1:].flatten()
    return each[~decisive].sum(), each[decisive].sum()


def write_functional_tokens(recipe: Recipe, out: Path) -> None:
    """``functional_tokens.json``: what the router needs to know about the tokens that this model writes."""
    tokens = {"backbone": "decoder", "tokens": recipe.functional_tokens, "abstain": UNKNOWN_NODE, "end": END,
              "created_with": "experts.pocket.train"}  # fmt: skip
    (out / "functional_tokens.json").write_text(json.dumps(tokens, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Trains the models named on the command line."""
    parser = argparse.ArgumentParser(description="Train one pocket model from its recipe.")
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, help="folder for the checkpoint (default: the bundled weights)")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: torch's own choice)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    train(RECIPES[arguments.name], arguments.out or WEIGHTS / arguments.name)


if __name__ == "__main__":
    main()
