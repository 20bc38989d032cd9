"""The masks of one model as tensors: a row of numbers for each layer, slot and expert."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from experts.moe.mask import ExpertMask, LayerMask
from experts.moe.routing import Rule, Steering, choose

PARTS = ("bias", "forced", "barred", "dropped")

Rows = Tensor | slice
"""The slot of each token, int64 [tokens]; or a slice of one slot, for all tokens."""


class MaskTables:
    """Slots for masks. They are written in place, so whatever reads the tensors, a recorded graph too, sees the change.

    Slot 0 stays empty: it is for tokens without a mask.

    Args:
        layers: indices of the layers with experts; methods count in this order.
        experts: number of experts in each.
        slots: masks at once at most, and one more.
    """

    def __init__(self, layers: Sequence[int], experts: int, slots: int, device: torch.device | str = "cpu") -> None:
        self._layers = tuple(layers)
        shape = (len(self._layers), slots, experts)
        self._tables = {
            part: torch.zeros(shape, dtype=torch.float32 if part == "bias" else torch.bool, device=device)
            for part in PARTS
        }
        self._active = torch.zeros(shape[:2], dtype=torch.bool, device=device)
        # What the mask of a slot asks for in a layer.
        self._parts: dict[tuple[int, int], frozenset[str]] = {}

    def write(self, slot: int, mask: ExpertMask) -> None:
        """Puts a mask, which must fit the model, into a slot."""
        self.clear(slot)
        for index, layer in mask.layers.items():
            self._write(self._layers.index(index), slot, layer, "barred" if mask.mode == "before" else "dropped")

    def clear(self, slot: int) -> None:
        """Empties a slot."""
        self._parts = {place: parts for place, parts in self._parts.items() if place[1] != slot}
        for table in (*self._tables.values(), self._active):
            table[:, slot] = 0

    def parts(self, place: int, slots: Collection[int]) -> frozenset[str]:
        """What the masks of these slots ask for in a layer; empty if they change nothing there."""
        return frozenset().union(*(self._parts.get((place, slot), frozenset()) for slot in slots))

    def choose(
        self, place: int, rows: Rows, logits: Tensor, rule: Rule, parts: Collection[str] = PARTS
    ) -> tuple[Tensor, Tensor]:
        """What a layer chooses for tokens with masks, see ``experts.moe.routing.choose``.

        Args:
            place: of the layer.
            parts: what the masks ask for; all that they could, if that is not known.
        """
        return choose(logits, rule, Steering(**{part: self._tables[part][place, rows] for part in parts}))

    def merge(self, place: int, rows: Tensor, chosen: Sequence[Tensor], plain: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """``chosen`` for the tokens whose masks change something in a layer, ``plain`` for the others."""
        masked = self._active[place, rows].unsqueeze(-1)
        return tuple(torch.where(masked, new.to(old.dtype), old) for new, old in zip(chosen, plain, strict=True))

    def _write(self, place: int, slot: int, layer: LayerMask, off: str) -> None:
        for part, experts in ((off, layer.off), ("forced", layer.force)):
            self._tables[part][place, slot, list(experts)] = True
        for expert, bias in layer.bias.items():
            self._tables["bias"][place, slot, expert] = bias
        found = ((off, layer.off), ("forced", layer.force), ("bias", layer.bias))
        self._parts[place, slot] = frozenset(part for part, experts in found if experts)
        self._active[place, slot] = bool(layer.experts)
