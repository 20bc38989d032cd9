"""Rows alone, fitted on cached features: the model stays as it is.

Minimises ``sum cross-entropy + lambda * (||E - E0||^2 + ||b - b0||^2)``, which is convex, with L-BFGS. ``E0`` is the
prior ("Re-Initialization Token Learning" adds ``0.01 * ||W - W0||``; here lambda is chosen by cross-validation, the
prior itself, lambda = infinity, included). Of all lambdas whose loss is within one standard error of the least, the
strongest is taken (the rule of Breiman et al., "Classification and Regression Trees"). So a few labels do no harm: they
move the rows only if the rows then predict labels that were left out clearly better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.functional.calibrate import row_losses

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAMBDAS = (math.inf, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
_FOLDS = 5
_STEPS = 200
_FEWEST = 10  # labels under which a standard error says nothing


@dataclass(frozen=True)
class Rows:
    """Rows E [n, d] and biases b [n] of a head whose logits are ``h . E^T + b``."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """features [m, d] -> logits [m, n]."""
        logits: NDArray[np.float32] = features @ self.weights.T + self.bias
        return logits


@dataclass(frozen=True)
class FittedRows:
    """What `fit_rows` found.

    Attributes:
        rows: the fitted rows; the prior itself where nothing was better.
        regularisation: the lambda chosen; infinity for the prior itself.
        held_out_logits: logits [m, n] of every row of the data by rows that were fitted without it; for calibration.
    """

    rows: Rows
    regularisation: float
    held_out_logits: NDArray[np.float32]


def fit_rows(
    features: NDArray[np.float32],
    labels: NDArray[np.integer],
    prior: Rows,
    *,
    lambdas: Sequence[float] = LAMBDAS,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> FittedRows:
    """Fits rows to labelled features.

    Args:
        features: h, float32 [m, d].
        labels: row numbers [m].
        prior: E0 and b0, already on the scale of logits that suits the features.
        lambdas: candidates, strongest first; one is taken as it is. With fewer than ten labels it is the first.
        seed: of the folds.
        progress: told the share done.
    """
    import numpy as np

    folds = _folds(np.asarray(labels), seed)
    count = int(folds.max()) + 1 if len(folds) else 0
    held_out = {strength: np.empty((len(labels), len(prior.bias)), np.float32) for strength in lambdas}
    for fold in range(count):
        inside, outside = folds != fold, folds == fold
        rows = prior
        for strength in lambdas:
            rows = _descend(features[inside], labels[inside], prior, strength, start=rows)
            held_out[strength][outside] = rows.logits(features[outside])
        if progress:
            progress((fold + 1) / (count + 1))
    best = _strongest_good(held_out, np.asarray(labels)) if len(labels) >= _FEWEST else lambdas[0]
    rows = _descend(features, labels, prior, best, start=prior)
    if progress:
        progress(1.0)
    return FittedRows(rows, best, held_out[best])


def _strongest_good(held_out: Mapping[float, NDArray[np.float32]], labels: NDArray[np.integer]) -> float:
    """The first lambda whose loss is at most one standard error (of the paired difference) above the least loss."""
    losses = {strength: row_losses(logits, labels) for strength, logits in held_out.items()}
    least = min(losses.values(), key=lambda loss: float(loss.mean()))
    excess = {strength: loss - least for strength, loss in losses.items()}
    return next(s for s, gap in excess.items() if gap.mean() <= gap.std() / math.sqrt(len(gap)))


def _folds(labels: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
    """A fold for each row, every class spread evenly over the folds."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), int)
    folds[order] = np.arange(len(labels)) % _FOLDS
    return folds


def _descend(
    features: NDArray[np.float32], labels: NDArray[np.integer], prior: Rows, strength: float, *, start: Rows
) -> Rows:
    import numpy as np
    import torch

    if math.isinf(strength) or not len(labels):
        return prior
    inputs = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    targets = torch.from_numpy(np.asarray(labels, np.int64))
    anchors = [torch.from_numpy(prior.weights.copy()), torch.from_numpy(prior.bias.copy())]
    free = [torch.from_numpy(values.copy()).requires_grad_() for values in (start.weights, start.bias)]
    # The loss is convex and smooth, so the strong Wolfe line search needs no learning rate.
    optimiser = torch.optim.LBFGS(free, max_iter=_STEPS, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        fit = torch.nn.functional.cross_entropy(inputs @ free[0].T + free[1], targets, reduction="sum")
        distance = sum(((value - anchor) ** 2).sum() for value, anchor in zip(free, anchors, strict=True))
        total = fit + strength * distance
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return Rows(free[0].detach().numpy(), free[1].detach().numpy())
