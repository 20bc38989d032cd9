"""Scores: which experts belong to a class of prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experts.errors import MaskError
from experts.moe.scan import Scan

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray


def contrast(scan: Scan, target: str, *, weighted: bool = False) -> NDArray[float64]:
    """The contrast of class means (MoTE), float64 [layers, experts].

    Activations are summed over the tokens of a prompt and averaged over the prompts of a class; the score is the average
    of the target class minus the mean of the others'.

    Args:
        weighted: sum the weights that the experts had, instead of counting.

    Raises:
        MaskError: the scan lacks the class, or another one to compare it with.
    """
    sums = scan.weights if weighted else scan.counts
    return _against_others(scan, target, sums / _column(scan.prompts))


def risk_difference(scan: Scan, target: str) -> NDArray[float64]:
    """The difference of activation rates (SteerMoE), -1 to 1, float64 [layers, experts].

    A rate is the share of the tokens of a class that chose the expert; the score is the target's minus the mean of the
    others'. Unlike the contrast it does not grow with the length of prompts.

    Raises:
        MaskError: the scan lacks the class, or another one to compare it with.
    """
    return _against_others(scan, target, scan.counts / _column(scan.tokens))


def _against_others(scan: Scan, target: str, means: NDArray[float64]) -> NDArray[float64]:
    at = scan.index(target)
    if len(scan.classes) < 2:
        raise MaskError(f"expected another class than {target!r} in the scan, found none. Add prompts of another class")
    difference: NDArray[float64] = means[at] - np.delete(means, at, axis=0).mean(axis=0)
    return difference


def _column(numbers: tuple[int, ...]) -> NDArray[float64]:
    return np.array(numbers, dtype=np.float64)[:, None, None]
