"""Trains the pocket model that uses tools: ``python -m experts.pocket.tools.train``.

A language model that reads tools. Beside the vocabulary's rows the output layer has, in each step, rows for the tools on
offer, and a tool's row is the average of the model's own final hidden states over the tool's name and description: the
prior of "Re-Initialization Token Learning for Tool-Augmented Large Language Models". Most tools on offer are made up
and never come twice. So the frozen model's states at a call tell tools apart, also tools that it has not met, by a row
that anyone can make from a description; rows that are trained afterwards start there.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from experts.pocket import WEIGHTS, resolve
from experts.pocket.architecture import build_model
from experts.pocket.recipes import Recipe
from experts.pocket.tokenizer import PAD, build_tokenizer
from experts.pocket.tools.batches import TOOL, Batcher, ToolBatch
from experts.pocket.tools.recipe import START, TOOL_USER
from experts.pocket.tools.start import start_from
from experts.pocket.train import save, train_through

log = logging.getLogger(__name__)

Backbone = Callable[..., Any]
"""Ids [batch, length] to an object whose ``last_hidden_state`` is [batch, length, width]."""

_GENERIC_SHARE = 0.5


def loss_of(backbone: Backbone, head: Tensor, batch: ToolBatch, pad: int, tool: int) -> tuple[Tensor, Tensor]:
    """The weighted mean cross-entropy, and the share of calls that are right.

    At a call the tool's own row is to win against the vocabulary and the other tools; and where no tools are told apart,
    the generic token is to win against the rest of the vocabulary.

    Args:
        backbone: the model without its output layer.
        head: output rows of the vocabulary, [vocabulary, width].
        pad, tool: ids of the padding token and the generic tool token.
    """
    rows = torch.cat([_averages(backbone, texts, pad) for texts in batch.texts])
    states = backbone(input_ids=batch.ids, use_cache=False).last_hidden_state
    chosen = batch.weight > 0
    states, targets, weight, closed = states[chosen], batch.targets[chosen], batch.weight[chosen], batch.closed[chosen]
    generic = states @ head.T
    of_tools = (states @ rows.T).masked_fill(closed[:, None], float("-inf"))
    logits = torch.cat([generic.index_fill(1, torch.tensor([tool]), float("-inf")), of_tools], dim=-1)
    each = functional.cross_entropy(logits, targets, reduction="none")
    calls = targets >= len(head)
    hits = (logits[calls].argmax(-1) == targets[calls]).float().sum() / calls.sum().clamp(min=1)
    generic_each = functional.cross_entropy(generic, targets.masked_fill(calls, tool), reduction="none") * ~closed
    return ((each + _GENERIC_SHARE * generic_each) * weight).sum() / weight.sum(), hits


def _averages(backbone: Backbone, texts: Tensor, pad: int) -> Tensor:
    """The average final hidden state of each text, padding left out: [texts, width]."""
    states: Tensor = backbone(input_ids=texts, use_cache=False).last_hidden_state
    kept = (texts != pad).unsqueeze(-1)
    return (states * kept).sum(1) / kept.sum(1)


def train(
    recipe: Recipe,
    out: Path,
    *,
    start: str | None = START,
    finished: Path | None = None,
    log_every: int = 100,
    compiled: bool = True,
) -> dict[str, float]:
    """Trains by the recipe and writes the checkpoint. Returns what it took.

    Args:
        start: the bundled model whose weights it starts from; None: from scratch.
        finished: the checkpoint of a finished first run, to refine.
        compiled: run the model through torch.compile, which pays after about a minute.
    """
    torch.manual_seed(recipe.seed)
    rng = Random(recipe.seed)
    tokenizer = build_tokenizer((TOOL,))
    pad, tool = tokenizer.convert_tokens_to_ids(PAD), tokenizer.convert_tokens_to_ids(TOOL)
    model = build_model(recipe, tokenizer).train()
    if finished:
        model.load_state_dict(load_file(finished / "model.safetensors"))
    elif start is not None:
        start_from(model, resolve(start))
    backbone = torch.compile(model.model, dynamic=True) if compiled else model.model
    stream = Batcher(recipe, tokenizer)(rng)

    def learn() -> tuple[int, Mapping[str, float]]:
        batch = next(stream)
        loss, hits = loss_of(backbone, model.lm_head.weight, batch, pad, tool)
        loss.backward()  # type: ignore[no-untyped-call]
        tokens = sum(int((ids != pad).sum()) for ids in (batch.ids, *batch.texts))
        return tokens, {"loss": loss.item(), "calls": hits.item()}

    facts = train_through(model, recipe, learn, finished, log_every)
    save(model, tokenizer, facts, out)
    return facts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the pocket model that uses tools.")
    parser.add_argument("--out", type=Path, default=WEIGHTS / "tool_base", help="folder for the checkpoint")
    parser.add_argument("--refine", action="store_true", help="only the run that refines the bundled weights")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: torch's own choice)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    train(TOOL_USER, arguments.out, finished=WEIGHTS / "tool_base" if arguments.refine else None)


if __name__ == "__main__":
    main()
