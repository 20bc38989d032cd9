"""Calibration: probabilities that mean what they say, and the threshold for abstaining.

Temperature scaling and expected calibration error after Guo et al., "On Calibration of Modern Neural Networks" (2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COLDEST, _HOTTEST = 1e-3, 1e3


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities along the last axis; ``-inf`` logits get 0."""
    import numpy as np

    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return probabilities


def row_losses(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Negative log-likelihood of each row, in nats: logits [n, c], labels [n] -> [n]."""
    import numpy as np

    exact = np.asarray(logits, np.float64)
    losses: NDArray[np.float64] = _log_normaliser(exact) - exact[np.arange(len(labels)), labels]
    return losses


def log_loss(logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float = 1.0) -> float:
    """Mean negative log-likelihood in nats. logits [n, c], labels [n]."""
    import numpy as np

    return float(row_losses(np.asarray(logits, np.float64) / temperature, labels).mean())


def _log_normaliser(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    top = logits.max(-1, keepdims=True)
    normaliser: NDArray[np.float64] = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
    return normaliser


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer], *, doubt: float = 1.0) -> float:
    """The temperature with the least log-loss, between 0.001 and 1000; 1.0 if there are no rows.

    Args:
        logits: [n, c].
        labels: [n].
        doubt: so many of the n rows count as if they could have had any label. Without it, a few rows that are all right
            would make everything certain.
    """
    import math

    import numpy as np

    if not len(labels):
        return 1.0
    exact = np.asarray(logits, np.float64)
    share = doubt / (len(labels) + doubt)
    expected = (1 - share) * exact[np.arange(len(labels)), labels] + share * exact.mean(-1)

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        return float((_log_normaliser(exact / temperature) - expected / temperature).mean())

    # The loss has one minimum along the logarithm of the temperature: golden section search.
    ratio = (math.sqrt(5) - 1) / 2
    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-3:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return math.exp((low + high) / 2)


def expected_calibration_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over ``bins`` bins of equal width, weighted by their rows; in [0, 1]."""
    import numpy as np

    if not len(labels):
        return 0.0
    confidence = probabilities.max(-1)
    right = probabilities.argmax(-1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def cross_fitted_error(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Calibration error at a temperature that was chosen on other rows: each half is scored at the other's."""
    import numpy as np

    if len(labels) < 2:
        return expected_calibration_error(softmax(logits), labels)
    halves = np.arange(len(labels)) % 2
    probabilities = np.empty(np.shape(logits))
    for half in (0, 1):
        temperature = fit_temperature(logits[halves != half], labels[halves != half])
        probabilities[halves == half] = softmax(logits[halves == half], temperature)
    return expected_calibration_error(probabilities, labels)


def fit_threshold(right: NDArray[np.floating], off_topic: NDArray[np.floating]) -> float:
    """The probability below which to abstain, from the highest probabilities of rows.

    Args:
        right: of rows that belong to a node, [n].
        off_topic: of rows that belong to none, [m].

    Returns:
        The threshold with the best mean of the share of ``right`` kept and of ``off_topic`` turned away; 0.0 (never
        abstain) if there are no off-topic rows.
    """
    import numpy as np

    if not len(off_topic) or not len(right):
        return 0.0
    values = np.unique(np.concatenate([right, off_topic, [0.0]]))
    kept = 1 - np.searchsorted(np.sort(right), values, side="left") / len(right)
    turned_away = np.searchsorted(np.sort(off_topic), values, side="left") / len(off_topic)
    best = int((kept + turned_away).argmax())
    # Halfway to the next lower value, so that rows just at the border are not decided by rounding.
    return float((values[best] + values[max(best - 1, 0)]) / 2)
