"""Keys and values of single requests, taken out of a batch's cache and put into another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from torch import Tensor

from experts.engines.local import qwen3
from experts.engines.requests import TokenId


@dataclass(frozen=True)
class Past:
    """What a model has computed for the beginning of one sequence.

    Attributes:
        tokens: the sequence so far.
        layers: keys and values of each layer, [heads, len(tokens), head width].
    """

    tokens: tuple[TokenId, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]

    def shared(self, tokens: Sequence[TokenId]) -> int:
        """How many tokens of another sequence it holds, from the beginning on."""
        if tuple(tokens[: len(self.tokens)]) == self.tokens:
            return len(self.tokens)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self.tokens, tokens, strict=False)))


def empty_cache(model: Any) -> Any:
    """A cache for a new batch."""
    if isinstance(model, qwen3.Qwen3):
        return qwen3.Cache()
    from transformers.cache_utils import DynamicCache

    return DynamicCache(config=model.config)


def can_split(model: Any) -> bool:
    """Whether rows of the model's caches can be taken out: not those of sliding windows, which forget, or of states."""
    if isinstance(model, qwen3.Qwen3):
        return True
    from transformers.cache_utils import DynamicLayer

    layers = empty_cache(model).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def split(cache: Any, row: int, tokens: tuple[TokenId, ...]) -> Past:
    """A copy of what the cache holds of one row, which are these tokens; what is to the left of them is padding."""
    return Past(
        tokens, tuple((k[row, :, -len(tokens) :].clone(), v[row, :, -len(tokens) :].clone()) for k, v in _layers(cache))
    )


def join(model: Any, pasts: Sequence[Past | None], lengths: Sequence[int]) -> Any:
    """A cache whose row i begins with the first ``lengths[i]`` tokens of ``pasts[i]``, padded on the left."""
    cache, width = empty_cache(model), max(lengths)
    known = [(row, past) for row, past in enumerate(pasts) if past is not None and lengths[row]]
    if not known:
        return cache
    for layer, (keys, values) in enumerate(known[0][1].layers):
        both = []
        for which, like in enumerate((keys, values)):
            padded = like.new_zeros(len(pasts), like.shape[0], width, like.shape[2])
            for row, past in known:
                padded[row, :, width - lengths[row] :] = past.layers[layer][which][:, : lengths[row]]
            both.append(padded)
        if isinstance(cache, qwen3.Cache):
            cache.extend(layer, *both)
        else:
            cache.update(*both, layer)
    return cache


def _layers(cache: Any) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer, [batch, heads, length, head width]."""
    if isinstance(cache, qwen3.Cache):
        return cache.layers
    return [(layer.keys, layer.values) for layer in cache.layers]
