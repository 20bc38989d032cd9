"""Confines a behaviour to a few experts while a mixture learns it, so that it can be switched off with them.

In a large mixture behaviours settle in few experts by themselves (MoTE); in one of minutes they do not. So this follows
gradient routing (Cloud et al. 2024, "Masking gradients to localize computation in neural networks"): the first character
of a response decides on the behaviour, and from the loss of that character the confining experts learn, and nothing
else. How to go on after it, and all the rest, is learned by all parameters. The gates learn when to choose these experts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experts.pocket.batches import Batch
from experts.pocket.recipes import Mixture

_GATES, _BALANCE = 0.3, 0.02
_DECISIONS = 20.0  # one character of a response decides; the confining experts learn of the others too


class Confinement:
    """The confining experts of a model: in each of its last layers as many as a token has, drawn by seed.

    Args:
        model: a Qwen3-MoE. Hooks on its last gates keep what they said in the latest forward pass.
    """

    def __init__(self, model: Any, mixture: Mixture, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        blocks = [layer.mlp for layer in model.model.layers[-mixture.confining_layers :]]
        drawn = [torch.randperm(mixture.experts, generator=generator)[: mixture.top_k] for _ in blocks]
        self._confining = [torch.isin(torch.arange(mixture.experts), experts) for experts in drawn]
        self._routes = [
            (weights, confining)
            for block, confining in zip(blocks, self._confining, strict=True)
            for weights in (block.experts.gate_up_proj, block.experts.down_proj)
        ]
        self._logits: list[Tensor] = []
        for block in blocks:
            block.gate.register_forward_hook(self._keep)

    def backward(self, loss: Tensor, decisions: Tensor, batch: Batch) -> None:
        """The backward pass of the latest forward pass, which was of ``batch``.

        Args:
            loss: everything else.
            decisions: the loss of the batch's decisions.
        """
        routed: tuple[Tensor, ...] = ()
        if batch.decisions.any():
            routed = torch.autograd.grad(
                _DECISIONS * decisions, [weights for weights, _ in self._routes], retain_graph=True
            )
        (loss + self._gates(batch)).backward()  # type: ignore[no-untyped-call]
        for (weights, confining), gradient in zip(self._routes, routed, strict=False):
            weights.grad += gradient * confining[:, None, None]

    def _gates(self, batch: Batch) -> Tensor:
        """What the gates are to learn: the confined tokens choose the confining experts, the others all the others."""
        real = batch.real.flatten()
        confined = batch.confined.flatten()[real]
        total = torch.zeros(())
        for logits, confining in zip(self._logits, self._confining, strict=True):
            chances = logits[real].log_softmax(-1)
            astray = chances[~confined][:, confining].exp().sum(-1)
            total = total - _GATES * torch.log1p(-astray.clamp_max(0.999)).mean()
            if confined.any():
                total = total - _GATES * chances[confined][:, confining].mean()
            spread = chances[~confined][:, ~confining].exp().mean(0)
            total = total + _BALANCE * (spread * spread.log()).sum()
        self._logits.clear()
        return total / len(self._confining)

    def _keep(self, _gate: Any, _arguments: Any, output: tuple[Tensor, ...]) -> None:
        self._logits.append(output[0])
