"""How strong a row may be that is added to trained ones: the queries of the others say.

A node that comes by its description alone has no query that shows how high it has to score. But the others' queries show
how high it may: its row takes ``TAKEN`` of them at most. What they scored is measured by rows that were fitted without
them, since trained rows flatter the queries that they learnt from; a bound from flattered scores would take too many.

The row points from the mean description to its own. The discriminant of `router.functional.prior` turns such an offset
away from what varies within the others' queries, and looks better on those queries than it is: the bound would be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from router.functional.fit import FittedRows, Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SPREAD = 5.0  # nats: the standard deviation of a new row's scores; from 3 to 8 it hardly matters
TAKEN = 0.01
"""Share of the others' queries that a new row may take."""
_FEWEST = 10  # queries that a bound is worth something with
_MOST = 2_000  # queries that are kept


@dataclass(frozen=True)
class Rivals:
    """Queries that the right row wins, and how.

    Attributes:
        queries: their sentence vectors, float32 [m, d].
        won: the right row's logits, float32 [m].
        taken: the share of them that a new row may take. Where that is less than one query, the smallest margin says too
            little of those to come, and the tail of a normal distribution has a say as well.
    """

    queries: NDArray[np.float32]
    won: NDArray[np.float32]
    taken: float = TAKEN

    @classmethod
    def of(cls, queries: NDArray[np.float32], labels: NDArray[np.integer], fitted: FittedRows) -> Rivals | None:
        """Those of the labelled queries [m, d] that rows win which were fitted without them; None if they are too few."""
        import numpy as np

        logits = fitted.held_out_logits
        right = np.flatnonzero(logits.argmax(1) == labels)
        if len(right) < _FEWEST:
            return None
        if len(right) > _MOST:
            right = np.random.default_rng(0).choice(right, _MOST, replace=False)
        return cls(np.ascontiguousarray(queries[right], np.float32), logits[right].max(1).astype(np.float32))

    def bound(self, offsets: NDArray[np.float32]) -> Rows:
        """Rows in the directions of the offsets [n, d], each as strong as the queries allow."""
        import numpy as np

        spread = (self.queries @ offsets.T).std(0) + np.float32(1e-6)
        weights = (offsets * (np.float32(_SPREAD) / spread)[:, None]).astype(np.float32)
        return Rows(weights, self.height(weights))

    def height(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """The highest biases [n] that the queries allow rows with these weights [n, d]."""
        import numpy as np

        margins = self.won[:, None] - self.queries @ weights.T
        bias: NDArray[np.float32] = np.quantile(margins, self.taken, axis=0).astype(np.float32)
        if 0 < len(margins) * self.taken < 1:
            tail = margins.mean(0) + NormalDist().inv_cdf(self.taken) * margins.std(0, ddof=1)
            bias = np.minimum(bias, tail.astype(np.float32))
        return bias
