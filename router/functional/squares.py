"""Squares: what rows say about features that appear together.

A row adds up what each feature says for itself; it cannot say that two of them mean something else together. A quadratic
form weighs every pair of features. It is symmetric, so it is a sum of squares along its eigenvectors, and the few of
them with large eigenvalues hold nearly all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Squares:
    """Adds ``(h . D^T + o)^2 . M^T`` to the logits of rows.

    Attributes:
        directions: D, float32 [k, d].
        offsets: o, float32 [k].
        mix: M, float32 [n, k].
    """

    directions: NDArray[np.float32]
    offsets: NDArray[np.float32]
    mix: NDArray[np.float32]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """features [m, d] -> what is added to the logits, [m, n]."""
        roots = features @ self.directions.T + self.offsets
        return (roots * roots) @ self.mix.T

    def logits_of(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same for one vector [d], [n]; see `Rows.logits_of`."""
        import numpy as np

        roots = np.einsum("kd,d->k", self.directions, vector) + self.offsets
        logits: NDArray[np.float32] = np.einsum("nk,k->n", self.mix, roots * roots)
        return logits

    def of(self, nodes: Sequence[int | None]) -> Squares:
        """Those of the rows given by number; None gets no squares."""
        import numpy as np

        none = np.zeros_like(self.mix[0])
        return replace(self, mix=np.stack([none if node is None else self.mix[node] for node in nodes]))

    def times(self, factor: float) -> Squares:
        """Squares that add so many times as much."""
        return replace(self, mix=self.mix * factor)

    def unscaled(self, mean: NDArray[np.float32], scale: NDArray[np.float32]) -> Squares:
        """Squares of features ``(h - mean) * scale`` as squares of h."""
        directions: NDArray[np.float32] = self.directions * scale
        return Squares(directions, self.offsets - directions @ mean, self.mix)
