"""Rows alone, fitted on cached features: the model stays as it is.

Minimises ``sum cross-entropy + lambda * (||E - E0||^2 + ||b - b0||^2)``, which is convex, with L-BFGS. ``E0`` is the
prior ("Re-Initialization Token Learning" adds ``0.01 * ||W - W0||``; here lambda is chosen by cross-validation, the
prior itself, lambda = infinity, included). The lambda with the least loss is taken if the prior's loss is more than
one standard error above it (after the rule of Breiman et al., "Classification and Regression Trees"). So a few labels
do no harm: they move the rows only if the rows then predict labels that were left out clearly better.

Rows that join a vocabulary (tool tokens) compete with it too: the vocabulary is one more outcome, whose logit is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.functional.calibrate import row_losses
from router.functional.squares import Squares

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAMBDAS = (math.inf, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
_FOLDS = 5
_STEPS = 200
_FEWEST = 10  # labels under which a standard error says nothing
_ASIDE_WEIGHT = 0.3  # of a row that is not scored, relative to one that is
_TOLERANCE = 1e-6  # change of the loss, in nats a row, under which a fit ends


@dataclass(frozen=True)
class Rows:
    """Rows E [n, d] and biases b [n] of a head whose logits are ``h . E^T + b``, and what `Squares` add to them."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    squares: Squares | None = None

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """features [m, d] -> logits [m, n]."""
        logits: NDArray[np.float32] = features @ self.weights.T + self.bias
        return logits if self.squares is None else logits + self.squares.logits(features)

    def logits_of(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """vector [d] -> logits [n], in this thread alone.

        With many rows `@` would share its work with threads that then spin for a while, beside those of the encoder
        that reads the next text.
        """
        import numpy as np

        logits: NDArray[np.float32] = np.einsum("nd,d->n", self.weights, vector) + self.bias
        return logits if self.squares is None else logits + self.squares.logits_of(vector)

    def cooled(self, temperature: float) -> Rows:
        """Rows whose logits are divided by a temperature."""
        squares = None if self.squares is None else self.squares.times(1 / temperature)
        return Rows(self.weights / temperature, self.bias / temperature, squares)


@dataclass(frozen=True)
class Asides:
    """Rows that are learnt from, at less weight, but not scored: other views of the labelled rows, and examples.

    Attributes:
        features: h, float32 [k, d].
        labels: row numbers [k].
        of: the labelled row that each is a view of, which shares its fold; -1: none, always learnt from.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.integer]
    of: NDArray[np.integer]


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
    asides: Asides | None = None,
    rest: NDArray[np.float32] | None = None,
    groups: NDArray[np.integer] | None = None,
    lambdas: Sequence[float] = LAMBDAS,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> FittedRows:
    """Fits rows to labelled features.

    Args:
        features: h, float32 [m, d].
        labels: row numbers [m]; the number of rows stands for ``rest``.
        prior: E0 and b0, already on the scale of logits that suits the features.
        asides: more rows to learn from.
        rest: for each row of the data the logit of all that is none of the rows, float32 [m]; not together with asides.
            Logits then have it as their last column.
        groups: rows of one number share a fold [m]: they give each other away.
        lambdas: candidates, strongest first; one is taken as it is. With fewer than ten labels it is the first.
        seed: of the folds.
        progress: told the share done.
    """
    import numpy as np

    labels = np.asarray(labels, np.int64)
    folds = _folds(labels, seed) if groups is None else _folds_of_groups(groups, seed)
    count = int(folds.max()) + 1 if len(folds) else 0
    inputs, targets, fold_of = features, labels, folds
    if asides is not None:
        inputs = np.concatenate([features, asides.features])
        targets = np.concatenate([labels, asides.labels])
        fold_of = np.concatenate([folds, np.append(folds, -1)[asides.of]])
    weights = np.where(np.arange(len(targets)) < len(labels), 1.0, _ASIDE_WEIGHT).astype(np.float32)
    others = np.empty((len(targets), 0), np.float32) if rest is None else rest[:, None]
    shape = (len(labels), len(prior.bias) + others.shape[1])
    held_out = {strength: np.empty(shape, np.float32) for strength in lambdas}
    for fold in range(count):
        inside, outside = fold_of != fold, folds == fold
        learnt = inputs[inside], targets[inside], weights[inside], others[inside]
        rows = prior
        for strength in lambdas:
            rows = _descend(*learnt, prior, strength, start=rows)
            unseen = features[outside], others[: len(labels)][outside]
            held_out[strength][outside] = np.concatenate([rows.logits(unseen[0]), unseen[1]], axis=1)
        if progress:
            progress((fold + 1) / (count + 1))
    best = _clearly_best(held_out, labels) if len(labels) >= _FEWEST else lambdas[0]
    rows = _descend(inputs, targets, weights, others, prior, best, start=prior)
    if progress:
        progress(1.0)
    return FittedRows(rows, best, held_out[best])


def _clearly_best(held_out: Mapping[float, NDArray[np.float32]], labels: NDArray[np.integer]) -> float:
    """The lambda with the least loss, if the first one's is more than a standard error (of the paired difference) above
    it; else the first."""
    losses = {strength: row_losses(logits, labels) for strength, logits in held_out.items()}
    first, best = next(iter(losses)), min(losses, key=lambda strength: float(losses[strength].mean()))
    excess = losses[first] - losses[best]
    return best if excess.mean() > excess.std() / math.sqrt(len(excess)) else first


def _folds(labels: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
    """A fold for each row, every class spread evenly over the folds."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), int)
    folds[order] = np.arange(len(labels)) % _FOLDS
    return folds


def _folds_of_groups(groups: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
    """A fold for each row, the same for all rows of a group."""
    import numpy as np

    _, of = np.unique(groups, return_inverse=True)
    folds: NDArray[np.integer] = (np.random.default_rng(seed).permutation(of.max() + 1) % _FOLDS)[of]
    return folds


def _descend(
    features: NDArray[np.float32], labels: NDArray[np.integer], weights: NDArray[np.float32],
    others: NDArray[np.float32], prior: Rows, strength: float, *, start: Rows,
) -> Rows:  # fmt: skip
    import numpy as np
    import torch

    if math.isinf(strength) or not len(labels):
        return prior
    inputs = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    targets, importance, rest = torch.from_numpy(labels), torch.from_numpy(weights), torch.from_numpy(others)
    anchors = [torch.from_numpy(prior.weights.copy()), torch.from_numpy(prior.bias.copy())]
    free = [torch.from_numpy(values.copy()).requires_grad_() for values in (start.weights, start.bias)]
    # The loss is convex and smooth, so the strong Wolfe line search needs no learning rate.
    optimiser = torch.optim.LBFGS(
        free, max_iter=_STEPS, tolerance_change=_TOLERANCE * len(labels), line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = torch.cat((inputs @ free[0].T + free[1], rest), dim=1)
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        fit = losses @ importance
        distance = sum(((value - anchor) ** 2).sum() for value, anchor in zip(free, anchors, strict=True))
        total = fit + strength * distance
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return Rows(free[0].detach().numpy(), free[1].detach().numpy())
