"""Scans a transformers model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from experts.engines.local.decoding import pad
from experts.engines.requests import TokenId
from experts.moe.activations import Activations, read_activations
from experts.moe.blocks import find_blocks


def scan_prompts(
    model: Any,
    prompts: Sequence[tuple[TokenId, ...]],
    *,
    max_batch: int = 32,
    progress: Callable[[int], None] | None = None,
) -> list[Activations]:
    """What each prompt activates, in the order of the prompts.

    Args:
        progress: called with the number of prompts done, after each batch.

    Raises:
        MaskError: the model has no experts, or of an unknown architecture.
    """
    # Prompts of like length run together, so that little is padding.
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    found: dict[int, Activations] = {}
    for start in range(0, len(order), max_batch):
        batch = order[start : start + max_batch]
        found |= zip(batch, read_prompts(model, [prompts[at] for at in batch]), strict=True)
        if progress:
            progress(len(found))
    return [found[at] for at in range(len(prompts))]


def read_prompts(model: Any, prompts: Sequence[tuple[TokenId, ...]]) -> list[Activations]:
    """What each prompt activates, all in one forward pass.

    Raises:
        MaskError: the model has no experts, or of an unknown architecture.
    """
    ids, mask, positions = pad(prompts, model.device)
    return read_activations(model, find_blocks(model), ids, mask, positions)
