"""Fits the weight of every pair of features, by the kernel ``(h . h')^2``.

There are millions of pairs, but a fit with an L2 penalty lies in the span of its examples (the representer theorem), so
the rows of a factor of the kernel matrix are features enough: a linear fit on them is the fit on all pairs. What it
finds is turned into a few squares afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.functional.fit import Rows
from router.functional.squares import Squares

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_MOST = 8192  # examples that span the pairs: memory and time grow with their square and cube
MOST_NODES = 64
"""Nodes that the squares kept are enough for."""
_JITTER = 1e-4  # of the mean kernel of an example with itself; keeps the factor exact where examples repeat
_SQUARES, _SQUARES_A_NODE = 512, 40  # squares that are kept, of all rows together: no more than either allows
_UNEVEN = 4  # times its even share that a node may have of them
_ROUNDS = 6  # of the power iteration that finds them
_SPARE = 8  # directions more than are wanted, with which it converges sooner


@dataclass(frozen=True)
class Pairs:
    """Pairs of the features of vectors.

    Attributes:
        vectors: the examples h that span them, float32 [k, d].
        weight: the kernel is ``weight * (h . h')^2``; it makes pairs as large as the features themselves.
        factor: lower Cholesky factor of the kernel matrix of ``vectors``, [k, k].
    """

    vectors: Tensor
    weight: float
    factor: Tensor

    @classmethod
    def among(cls, vectors: NDArray[np.float32], seed: int) -> Pairs:
        """Of vectors [m, d]; of many, a random part spans them."""
        import numpy as np
        import torch

        if len(vectors) > _MOST:
            vectors = vectors[np.random.default_rng(seed).choice(len(vectors), _MOST, replace=False)]
        some = torch.from_numpy(np.ascontiguousarray(vectors, np.float32))
        length = float(some.square().sum(1).mean())
        kernel = (some @ some.T).square_().mul_(1 / length)
        kernel.diagonal().add_(_JITTER * float(kernel.diagonal().mean()))
        return cls(some, 1 / length, torch.linalg.cholesky(kernel))

    def features(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors [m, d] to features [m, k] that any weights of pairs can be read off."""
        import torch

        kernel = (self.vectors @ torch.from_numpy(vectors).T).square_().mul_(self.weight)
        found: NDArray[np.float32] = torch.linalg.solve_triangular(self.factor, kernel, upper=False).T.numpy()
        return found

    def rows(self, rows: Rows, vectors: NDArray[np.float32], inputs: NDArray[np.float32]) -> Rows:
        """Rows over features and vectors side by side, as rows over vectors with squares.

        Args:
            vectors: examples [m, d]; on average, the squares that are left out say nothing about them.
            inputs: their features and themselves, [m, k + d].
        """
        width = vectors.shape[1]
        own = rows.weights[:, :-width]
        squares = self._squares(own)
        left_out = inputs[:, :-width].mean(0) @ own.T - squares.logits(vectors).mean(0)
        return Rows(rows.weights[:, -width:], rows.bias + left_out, squares)

    def _squares(self, weights: NDArray[np.float32]) -> Squares:
        """The largest squares of what rows [n, k] over the features say."""
        import torch

        shares = torch.linalg.solve_triangular(self.factor.T, torch.from_numpy(weights.copy()).T, upper=True).T
        most = min(_SQUARES, _SQUARES_A_NODE * len(weights))
        each = min(self.vectors.shape[1], most, _UNEVEN * most // len(weights))
        found = [_principal(self.vectors, self.weight * share, each) for share in shares]
        values = torch.block_diag(*(value[None] for value, _ in found))  # type: ignore[no-untyped-call]
        directions = torch.cat([direction for _, direction in found])
        kept = values.abs().sum(0).topk(min(most, len(directions))).indices
        mix, chosen = values[:, kept].numpy(), directions[kept].numpy()
        return Squares(chosen, torch.zeros(len(kept)).numpy(), mix)


def widened(rows: Rows, width: int) -> Rows:
    """Rows that give the same logits for features that are put before theirs, ``width`` in all."""
    import numpy as np

    return Rows(np.pad(rows.weights, ((0, 0), (width - rows.weights.shape[1], 0))), rows.bias)


def _principal(vectors: Tensor, shares: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The eigenvalues [count] of largest size of ``vectors^T . diag(shares) . vectors``, and its eigenvectors [count, d]."""
    import torch

    width = min(count + _SPARE, vectors.shape[1])
    basis = torch.randn(vectors.shape[1], width, generator=torch.Generator().manual_seed(0))

    def form(columns: Tensor) -> Tensor:
        return vectors.T @ (shares[:, None] * (vectors @ columns))

    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(form(basis)).Q
    values, turn = torch.linalg.eigh(basis.T @ form(basis))
    largest = values.abs().topk(count).indices
    return values[largest], (basis @ turn).T[largest]
