"""Which experts a model chooses for prompts: counted in a transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from experts.moe.blocks import MoeBlock

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Activations:
    """The experts that the tokens of one prompt chose.

    Attributes:
        counts: how often each was chosen, int64 [layers with experts, experts]; each row adds up to tokens * top_k.
        weights: sums of the weights that it had, float64, of the same shape.
        tokens: length of the prompt.
    """

    counts: NDArray[int64]
    weights: NDArray[float64]
    tokens: int


@torch.inference_mode()
def read_activations(
    model: Any, blocks: Sequence[MoeBlock], ids: Tensor, attention_mask: Tensor | None, positions: Tensor
) -> list[Activations]:
    """Runs a batch of prompts, padded on either side, and counts; what is padding does not count.

    Args:
        blocks: the layers of the model that have experts, with the same number each.
        ids: int64 [prompts, longest].
        attention_mask: 1 for what is no padding, of the same shape; None if nothing is.
        positions: of the tokens, int64, of the same shape.
    """
    rows, length = ids.shape
    valid = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    row = torch.arange(rows, device=ids.device).repeat_interleave(length)[valid.flatten()]
    experts = blocks[0].experts
    counts = torch.zeros(rows, len(blocks), experts, dtype=torch.int64)
    weights = torch.zeros(rows, len(blocks), experts, dtype=torch.float64)

    def count(place: int, _gate: Any, _arguments: Any, output: tuple[Tensor, ...]) -> None:
        weight, chosen = (part[valid.flatten()] for part in output[1:])
        cells = (row.unsqueeze(-1) * experts + chosen).flatten()
        counts[:, place] = cells.bincount(minlength=rows * experts).view(rows, experts)
        weights[:, place] = cells.bincount(weight.flatten().double(), minlength=rows * experts).view(rows, experts)

    with ExitStack() as hooks:
        for place, block in enumerate(blocks):
            hooks.callback(block.gate.register_forward_hook(partial(count, place)).remove)
        model.base_model(input_ids=ids, attention_mask=attention_mask, position_ids=positions, use_cache=False)
    tokens = valid.sum(-1).tolist()
    return [Activations(counts[i].numpy(), weights[i].numpy(), tokens[i]) for i in range(rows)]
