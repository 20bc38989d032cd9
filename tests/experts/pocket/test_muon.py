"""Muon in float32 against torch's, which iterates in bfloat16."""

from __future__ import annotations

import pytest
import torch

from experts.pocket.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (16, 16)])
def test_a_few_steps_are_torchs(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    start, target = torch.randn(2, *shape)
    ours, theirs = (start.clone().requires_grad_() for _ in range(2))
    mine = Muon([ours], lr=0.01, weight_decay=0.05)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for matrix, optimiser in ((ours, mine), (theirs, reference)):
            optimiser.zero_grad()
            (matrix - target).square().sum().backward()
            optimiser.step()
    moved = (ours - start).norm()
    assert moved > 0.1
    assert (ours - theirs).norm() < 0.03 * moved  # bfloat16 has three digits


def test_singular_values_come_near_one_and_zeros_stay() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 8, 24)))
    assert ((values > 0.6) & (values < 1.3)).all()
    assert not orthogonal(torch.zeros(1, 4, 4)).any()
