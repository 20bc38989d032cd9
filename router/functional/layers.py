"""Rows that read every layer: the pooled states of all layers side by side, on one scale for fitting.

What a topic is shows in lower layers too (Tenney et al., "BERT Rediscovers the Classical NLP Pipeline", 2019), and a
sentence encoder's last layer has thrown part of it away. Lower layers vary little around a large common mean, so rows
are fitted on features that are centred and brought to the spread of a sentence vector. Both steps are linear: fitted
rows are folded back into rows for the vectors as the engine gives them, and a decision costs one product as before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.functional.fit import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEAST_SPREAD = 0.02  # of a dimension, relative to that of a random unit vector


@dataclass(frozen=True)
class LayerScale:
    """``scaled = (vectors - mean) * scale``; mean and scale float32 [layers * width]."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def measure(cls, vectors: NDArray[np.float32], width: int) -> LayerScale:
        """Of the training vectors [m, layers * width]; each dimension gets the spread 1 / sqrt(width)."""
        import numpy as np

        mean, spread = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
        unit = 1 / math.sqrt(width)
        return cls(mean.astype(np.float32), (unit / (spread + _LEAST_SPREAD * unit)).astype(np.float32))

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors to scaled features, [m, layers * width]."""
        return (vectors - self.mean) * self.scale

    def lift(self, rows: Rows) -> Rows:
        """Rows [n, width] for sentence vectors to rows [n, layers * width] for scaled features: the same logits."""
        import numpy as np

        width = rows.weights.shape[1]
        weights = np.zeros((len(rows.bias), len(self.mean)), np.float32)
        weights[:, -width:] = rows.weights / self.scale[-width:]
        bias: NDArray[np.float32] = rows.bias + rows.weights @ self.mean[-width:]
        return Rows(weights, bias)

    def fold(self, rows: Rows) -> Rows:
        """Rows for scaled features to rows for vectors: the same logits."""
        weights: NDArray[np.float32] = rows.weights * self.scale
        squares = None if rows.squares is None else rows.squares.unscaled(self.mean, self.scale)
        return Rows(weights, rows.bias - weights @ self.mean, squares)
