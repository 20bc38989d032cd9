"""Muon (Jordan et al. 2024) in float32: momentum whose matrices are made orthogonal before they are applied.

torch.optim.Muon iterates in bfloat16, for which most CPUs have no units: there it took more than half of a pocket model's
training step. Here the iteration is float32, over all matrices of one shape at once. The update is otherwise torch's, with
the learning rate adjusted to AdamW's ("match_rms_adamw").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Newton and Schulz' quintic iteration, as published
_STEPS = 5
_EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon for the matrices of a model; everything else needs another optimiser.

    Args:
        parameters: matrices [rows, columns].
        lr: of AdamW's size.
        momentum: of Nesterov's kind.
        weight_decay: decoupled.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.1
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient. A closure is not supported."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes[matrix.shape].append(matrix)
            for shape, matrices in shapes.items():
                updates = orthogonal(torch.stack([self._nesterov(m, group["momentum"]) for m in matrices]))
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _nesterov(self, matrix: Tensor, momentum: float) -> Tensor:
        assert matrix.grad is not None
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        average: Tensor = state["momentum"]
        average.lerp_(matrix.grad, 1 - momentum)
        update: Tensor = matrix.grad.lerp(average, momentum)
        return update


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly orthogonal matrices with the singular vectors of the given ones: [n, rows, columns], float32."""
    tall = matrices.shape[1] > matrices.shape[2]
    wide: Tensor = matrices.mT if tall else matrices
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=_EPSILON)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = wide @ wide.mT
        wide = a * wide + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ wide
    return wide.mT if tall else wide
