"""Trains one pocket model from scratch: ``python -m experts.pocket.train NAME``.

Matrices learn by Muon (Jordan et al. 2024), everything else, and the experts of a mixture, by AdamW. Limits: one process,
float32, no resuming; minutes to an hour a model on two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from experts.pocket import WEIGHTS
from experts.pocket.architecture import build_model
from experts.pocket.batches import Batch, batches
from experts.pocket.confine import Confinement
from experts.pocket.corpus import UNKNOWN_NODE
from experts.pocket.muon import Muon
from experts.pocket.recipes import RECIPES, Recipe
from experts.pocket.tokenizer import END, build_tokenizer

log = logging.getLogger(__name__)

Learn = Callable[[], tuple[int, Mapping[str, float]]]
"""Leaves the gradients of one more batch; its tokens, and figures to report."""


def optimisers(model: PreTrainedModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, output rows, norms, gates and experts."""
    named = model.model.layers.named_parameters()
    blocks = [p for name, p in named if p.ndim == 2 and not name.endswith("mlp.gate.weight")]
    others = [p for p in model.parameters() if not any(p is q for q in blocks)]
    return [
        Muon(blocks, lr=recipe.learning_rate, weight_decay=0.05),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


@dataclass(frozen=True)
class Run:
    """One pass of the learning rate from its peak to zero; it falls linearly over the last ``decay`` of the steps."""

    million_tokens: float
    learning_rate: float
    decay: float

    def rate(self, step: int, seen: int) -> float:
        """The rate at a step, with so many tokens seen in the run."""
        return self.learning_rate * min(1.0, (step + 1) / 100, (1 - seen / 1e6 / self.million_tokens) / self.decay)


def runs_of(recipe: Recipe) -> list[Run]:
    """The first run, and the one that refines, if the recipe has one."""
    runs = [Run(recipe.million_tokens, recipe.learning_rate, recipe.decay)]
    if recipe.refining_million_tokens:
        runs.append(Run(recipe.refining_million_tokens, recipe.learning_rate * 2 / 3, 1.0))
    return runs


def train(
    recipe: Recipe, out: Path, *, finished: Path | None = None, log_every: int = 100, compiled: bool = True
) -> dict[str, float]:
    """Trains by the recipe and writes the checkpoint. Returns what it took.

    Args:
        finished: the checkpoint of a finished first run, to refine; None: from fresh weights.
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
    if finished:
        model.load_state_dict(load_file(finished / "model.safetensors"))
    stream = batches(recipe, tokenizer, rng)

    def learn() -> tuple[int, Mapping[str, float]]:
        batch = next(stream)
        loss, decisions = _losses(forward(input_ids=batch.ids, use_cache=False).logits, batch)
        if confinement:
            confinement.backward(loss, decisions, batch)
        else:
            (loss + decisions).backward()  # type: ignore[no-untyped-call]
        return int(batch.real.sum()), {"loss": (loss + decisions).item()}

    facts = train_through(model, recipe, learn, finished, log_every)
    save(model, tokenizer, facts, out)
    if recipe.functional_tokens:
        write_functional_tokens(recipe, out)
    return facts


def train_through(
    model: PreTrainedModel, recipe: Recipe, learn: Learn, finished: Path | None, log_every: int
) -> dict[str, float]:
    """All runs of a recipe, or the one that refines a ``finished`` checkpoint. Returns what it took, first run included."""
    before = {"seconds": 0.0, "steps": 0, "million_tokens": 0.0}
    runs = runs_of(recipe)
    if finished:
        before = json.loads((finished / "training.json").read_text(encoding="utf-8"))
        runs = runs[1:]
    started = time.monotonic()
    taken = [_run_through(run, optimisers(model, recipe), learn, log_every) for run in runs]
    return {"seconds": before["seconds"] + time.monotonic() - started,
            "steps": before["steps"] + sum(steps for steps, _ in taken),
            "million_tokens": before["million_tokens"] + sum(seen for _, seen in taken) / 1e6,
            "parameters": model.num_parameters(), "seed": recipe.seed}  # fmt: skip


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, facts: Mapping[str, float], out: Path) -> None:
    """The checkpoint, and beside it what its training took."""
    model.eval()
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


def _run_through(
    run: Run, optimiser_list: Sequence[torch.optim.Optimizer], learn: Learn, log_every: int
) -> tuple[int, int]:
    """One run; the steps and the tokens that it took."""
    parameters = [p for o in optimiser_list for group in o.param_groups for p in group["params"]]
    started, seen, step, told = time.monotonic(), 0, 0, list[Mapping[str, float]]()
    while seen < run.million_tokens * 1e6:
        for optimiser in optimiser_list:
            for group in optimiser.param_groups:
                group["lr"] = run.rate(step, seen)
        tokens, figures = learn()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimiser in optimiser_list:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seen += tokens
        step += 1
        told.append(figures)
        if step % log_every == 0:
            means = "  ".join(f"{name} {sum(one[name] for one in told) / len(told):.4f}" for name in figures)
            speed = seen / (time.monotonic() - started)
            log.info("step %d  %.2fM tokens  %s  %.0f tokens/s", step, seen / 1e6, means, speed)
            told.clear()
    return step, seen


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
    parser.add_argument("--refine", action="store_true", help="only the run that refines the bundled weights")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: torch's own choice)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    bundled = WEIGHTS / arguments.name
    recipe = RECIPES[arguments.name]
    if arguments.refine and not recipe.refining_million_tokens:
        parser.error(f"the recipe of {arguments.name} has no run that refines")
    train(recipe, arguments.out or bundled, finished=bundled if arguments.refine else None)


if __name__ == "__main__":
    main()
