"""The small model, teacher-forced over what the large one wrote: what it would have proposed at each position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experts.defer.features import TOP_K, proposals, top_logits
from experts.engines.requests import TokenId


@dataclass(frozen=True)
class Forced:
    """The small model at each position of one response, in the model's own number format.

    Attributes:
        hidden: the final normalised state before the position, [n, width].
        logits: the greatest logits, the greatest first, [n, k].
        proposal: the most probable token, int64 [n].
    """

    hidden: Tensor
    logits: Tensor
    proposal: Tensor


@torch.inference_mode()
def teacher_force(
    model: Any, texts: Sequence[tuple[tuple[TokenId, ...], tuple[TokenId, ...]]], *, tokens_a_batch: int = 8192
) -> list[Forced]:
    """One forward pass over (prompt, response) pairs, like lengths together.

    Batches are padded on the right, so causal attention needs no mask.

    Args:
        model: the small model.
        tokens_a_batch: tokens that run together at most, padding included, unless one text alone is longer.
    """
    forced: dict[int, Forced] = {}
    for rows in _batches([len(prompt) + len(response) - 1 for prompt, response in texts], tokens_a_batch):
        ids = [[*texts[row][0], *texts[row][1][:-1]] for row in rows]
        longest = max(map(len, ids))
        batch = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids], device=model.device)
        with reading_hidden(model) as hidden_of:
            logits = model(
                input_ids=batch, attention_mask=None, position_ids=torch.arange(longest, device=model.device)[None],
                use_cache=False,
            ).logits  # fmt: skip
            hidden = hidden_of()
        for at, row in enumerate(rows):
            first, last = len(texts[row][0]) - 1, len(ids[at])
            forced[row] = _read(hidden[at, first:last], logits[at, first:last])
    return [forced[row] for row in range(len(texts))]


def _read(hidden: Tensor, logits: Tensor) -> Forced:
    best = top_logits(logits, TOP_K).to(logits.dtype)
    return Forced(hidden.cpu(), best.cpu(), proposals(logits).cpu())


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if rows and (len(rows) + 1) * lengths[row] > most:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


class reading_hidden:  # noqa: N801 - it reads as a verb
    """Within it, what went into the output layer is at hand: the hidden state after the final normalisation.

    So one forward pass gives both the states and the logits as the model itself computes them, whatever it does to
    them after the output layer.
    """

    def __init__(self, model: Any) -> None:
        self._head = model.get_output_embeddings()
        self._seen: list[Tensor] = []

    def __enter__(self) -> Callable[[], Tensor]:
        self._hook = self._head.register_forward_pre_hook(lambda _module, inputs: self._seen.append(inputs[0]))
        return self._seen.pop

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
