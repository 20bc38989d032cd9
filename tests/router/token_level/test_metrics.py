from __future__ import annotations

import itertools

import pytest
import torch

from router.token_level import metrics
from router.token_level.calibrate import by_labels, by_runs


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 20, (200,), generator=generator).float()
    divergent = torch.randint(0, 2, (200,), generator=generator).float()
    pairs = list(itertools.product(scores[divergent == 1].tolist(), scores[divergent == 0].tolist()))
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert metrics.auc(scores, divergent) == pytest.approx(expected)


def test_recall_and_positive_rate_include_the_threshold() -> None:
    scores, divergent = torch.tensor([0.1, 0.5, 0.5, 0.9]), torch.tensor([1.0, 1.0, 0.0, 1.0])
    assert metrics.recall(scores, divergent, 0.5) == pytest.approx(2 / 3)
    assert metrics.positive_rate(scores, 0.5) == 0.75


def test_calibration_error_is_small_for_honest_probabilities_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.rand(20_000, generator=generator)
    happened = (torch.rand(20_000, generator=generator) < honest).float()
    assert metrics.calibration_error(honest, happened) < 0.02
    assert metrics.calibration_error(honest.sqrt(), happened) > 0.1


def test_by_labels_a_share_of_the_positions_reaches_the_threshold() -> None:
    scores = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    for entry in by_labels(scores, [0.0, 0.05, 0.5, 1.0]):
        assert metrics.positive_rate(scores, entry.threshold) == pytest.approx(entry.share, abs=1e-6)


async def test_by_runs_the_share_of_the_run_counts_not_that_of_the_labels() -> None:
    """In the run here, the scores are other ones: squares, so that far fewer places are critical."""
    labelled = torch.rand(5000, generator=torch.Generator().manual_seed(0))
    run = labelled**3
    asked: list[float] = []

    async def share_at(threshold: float) -> float:
        asked.append(threshold)
        return metrics.positive_rate(run, threshold)

    shares = (0.02, 0.1, 0.15, 0.3)
    for entry in await by_runs(labelled, shares, share_at):
        assert 0.9 * entry.share <= metrics.positive_rate(run, entry.threshold) <= entry.share
    assert len(asked) <= 7 * len(shares)
