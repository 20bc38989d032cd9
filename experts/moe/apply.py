"""Masks inside a transformers model, for each row of a batch its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experts.engines.checks import check_mask_name
from experts.engines.requests import NO_MASK
from experts.moe.blocks import MoeBlock, find_blocks, shape_of
from experts.moe.check import check_mask
from experts.moe.mask import ExpertMask
from experts.moe.shape import MoeShape
from experts.moe.tables import MaskTables


class ModelMasks:
    """The masks of one model, by name.

    Nothing of them is in the model except within ``applied``: without masks it computes what it always did.

    Args:
        fingerprint: of the model; masks for others are refused.

    Raises:
        MaskError: the model has no experts, or of an unknown architecture.
    """

    def __init__(self, model: Any, fingerprint: str) -> None:
        self._blocks = find_blocks(model)
        self._shape = shape_of(self._blocks, fingerprint)
        self._slots: dict[str, int] = {}
        self._tables: MaskTables | None = None

    @property
    def shape(self) -> MoeShape:
        return self._shape

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._slots)

    def set(self, masks: Mapping[str, ExpertMask]) -> None:
        """Replaces all masks.

        Raises:
            MaskError: one does not fit the model; then nothing is changed.
        """
        for mask in masks.values():
            check_mask(mask, self._shape)
        first = self._blocks[0]
        layers = [block.layer for block in self._blocks]
        tables = MaskTables(layers, first.experts, len(masks) + 1, first.gate.weight.device)
        for slot, mask in enumerate(masks.values(), start=1):
            tables.write(slot, mask)
        self._tables = tables
        self._slots = {name: slot for slot, name in enumerate(masks, start=1)}

    @contextmanager
    def applied(self, names: Sequence[str | None]) -> Iterator[Rows]:
        """Within the context row i of every batch has the mask ``names[i]``, None or ``NO_MASK`` for none.

        Raises:
            RequestError: there is no mask of that name.
        """
        for name in names:
            check_mask_name(name, self._slots)
        rows = Rows([0 if name is None or name == NO_MASK else self._slots[name] for name in names])
        with ExitStack() as hooks:
            if self._tables is not None and any(rows.used):
                for place, block in enumerate(self._blocks):
                    hook = partial(_steer, self._tables, rows, place, block)
                    hooks.callback(block.gate.register_forward_hook(hook).remove)
            yield rows


class Rows:
    """Which mask each row of the batch has; rows may leave it."""

    def __init__(self, slots: Sequence[int]) -> None:
        self._slots = list(slots)
        self.used = frozenset(slots)

    def keep(self, rows: Sequence[int]) -> None:
        """From now on the batch consists of these of its rows."""
        self._slots = [self._slots[row] for row in rows]
        self.used = frozenset(self._slots)

    def of_tokens(self, tokens: int, device: torch.device) -> Tensor:
        """The slots of all tokens of a batch, row after row, int64 [tokens]."""
        return torch.tensor(self._slots, device=device).repeat_interleave(tokens // len(self._slots))


def _steer(
    tables: MaskTables, rows: Rows, place: int, block: MoeBlock, _gate: Any, _arguments: Any, output: tuple[Tensor, ...]
) -> tuple[Tensor, ...] | None:
    logits, weights, ids = output
    parts = tables.parts(place, rows.used)
    if not parts:
        return None
    slots = rows.of_tokens(len(logits), logits.device)
    chosen = tables.choose(place, slots, logits, block.rule, parts)
    return (logits, *tables.merge(place, slots, chosen, (weights, ids)))
