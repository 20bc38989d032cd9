"""What a token router reads of one step of the small model.

Labels, the engine ``local`` and the plugin in vLLM all come here, so the three cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOP_K = 100
"""Logits that are read at most (R2R)."""


@dataclass(frozen=True)
class Features:
    """The inputs of n places.

    Attributes:
        hidden: the hidden state after the final normalisation, float32 [n, width].
        top_logits: the greatest logits, the greatest first, float32 [n, k].
        embeddings: the input embedding of the proposal, float32 [n, width].
    """

    hidden: Tensor
    top_logits: Tensor
    embeddings: Tensor


def proposals(logits: Tensor) -> Tensor:
    """The token that the model proposes at each place: its most probable one, also where tokens are drawn at random.

    Args:
        logits: [n, vocabulary], as the model computes them, before anything is restricted or scaled.

    Returns:
        int64 [n].
    """
    return logits.argmax(-1)


def top_logits(logits: Tensor, k: int) -> Tensor:
    """The k greatest logits of each place, the greatest first, float32 [n, k]; fewer if the vocabulary is smaller."""
    return logits.float().topk(min(k, logits.shape[-1]), dim=-1).values


def features(hidden: Tensor, logits: Tensor, embeddings: Tensor, k: int = TOP_K) -> Features:
    """The features of n places.

    Args:
        hidden: after the final normalisation, [n, width].
        logits: [n, vocabulary].
        embeddings: of ``proposals(logits)``, [n, width].
        k: logits to read.
    """
    return Features(hidden.to(torch.float32), top_logits(logits, k), embeddings.to(torch.float32))
