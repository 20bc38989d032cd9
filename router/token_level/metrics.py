"""How good scores are that should tell divergent positions from harmless ones."""

from __future__ import annotations

import torch
from torch import Tensor

_BINS = 15


def auc(scores: Tensor, divergent: Tensor) -> float:
    """Area under the ROC curve: how probably a divergent position scores above a harmless one; ties count half.

    Args:
        scores: [n].
        divergent: 0 or 1, [n], both kinds among them.
    """
    _, places, counts = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    ranks = (last - (counts - 1) / 2.0)[places]
    positive = divergent.bool()
    n = int(positive.sum())
    above = float(ranks[positive].sum()) - n * (n + 1) / 2
    return above / (n * (len(scores) - n))


def recall(scores: Tensor, divergent: Tensor, threshold: float) -> float:
    """Share of the divergent positions that score at or above the threshold."""
    return float((scores[divergent.bool()] >= threshold).float().mean())


def positive_rate(scores: Tensor, threshold: float) -> float:
    """Share of all positions that score at or above the threshold."""
    return float((scores >= threshold).float().mean())


def calibration_error(probabilities: Tensor, divergent: Tensor) -> float:
    """Expected calibration error of probabilities [n], in [0, 1]: the mean gap between the probability and the share of
    divergent positions, over 15 bins with the same number of positions each (most positions are near 0, so bins of
    equal width would look at those alone)."""
    order = probabilities.argsort()
    gaps = probabilities.double()[order] - divergent.double()[order]
    bins = torch.arange(len(gaps)) * _BINS // len(gaps)
    return float(torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, gaps).abs().sum() / len(gaps))
