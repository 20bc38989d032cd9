from __future__ import annotations

import math

import numpy as np
import pytest

from router.functional.fit import Asides, Rows, fit_rows

WIDTH, NODES = 12, 4


def problem(seed: int, rows: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray, Rows]:
    """Features around known directions, and a prior that points roughly there."""
    truth = np.random.default_rng(7).normal(size=(NODES, WIDTH)) / 2
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NODES, rows)
    features = (truth[labels] + noise * rng.normal(size=(rows, WIDTH))).astype(np.float32)
    start = truth + 0.3 * np.random.default_rng(8).normal(size=truth.shape)
    return features, labels, Rows(start.astype(np.float32), -(start**2).sum(1).astype(np.float32) / 2)


def accuracy(rows: Rows, features: np.ndarray, labels: np.ndarray) -> float:
    return float((rows.logits(features).argmax(1) == labels).mean())


def test_many_labels_improve_on_the_prior() -> None:
    features, labels, prior = problem(0, 200)
    test, truth, _ = problem(1, 2000)
    fitted = fit_rows(features, labels, prior)
    assert accuracy(fitted.rows, test, truth) > accuracy(prior, test, truth) + 0.02
    assert math.isfinite(fitted.regularisation)
    assert fitted.held_out_logits.shape == (200, NODES)


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_few_labels_never_harm(count: int) -> None:
    test, truth, prior = problem(1, 2000)
    for seed in range(6):
        features, labels, _ = problem(100 + seed, count)
        fitted = fit_rows(features, labels, prior)
        assert accuracy(fitted.rows, test, truth) >= accuracy(prior, test, truth) - 0.01


def test_random_labels_leave_the_prior() -> None:
    features, _, prior = problem(0, 60)
    labels = np.random.default_rng(99).integers(0, NODES, 60)
    good_prior = Rows(np.zeros_like(prior.weights), np.zeros_like(prior.bias))
    assert fit_rows(features, labels, good_prior).regularisation >= 1


def test_stronger_regularisation_stays_nearer() -> None:
    features, labels, prior = problem(0, 100)
    moved = [
        float(np.linalg.norm(fit_rows(features, labels, prior, lambdas=(strength,)).rows.weights - prior.weights))
        for strength in (math.inf, 100.0, 1.0, 0.01)
    ]
    assert moved == sorted(moved)
    assert moved[0] == 0


def test_held_out_logits_are_held_out() -> None:
    features, labels, prior = problem(0, 40, noise=3.0)
    fitted = fit_rows(features, labels, prior, lambdas=(1e-4,))
    seen = accuracy(fitted.rows, features, labels)
    held_out = float((fitted.held_out_logits.argmax(1) == labels).mean())
    assert seen > held_out + 0.1


def test_it_is_repeatable() -> None:
    features, labels, prior = problem(0, 50)
    first, second = (fit_rows(features, labels, prior, seed=3) for _ in range(2))
    assert np.array_equal(first.rows.weights, second.rows.weights)


def test_asides_teach() -> None:
    features, labels, prior = problem(0, 200)
    test, truth, _ = problem(1, 2000)
    asides = Asides(features[20:], labels[20:], np.full(180, -1))
    alone = fit_rows(features[:20], labels[:20], prior, lambdas=(0.3,))
    helped = fit_rows(features[:20], labels[:20], prior, asides=asides, lambdas=(0.3,))
    assert accuracy(helped.rows, test, truth) > accuracy(alone.rows, test, truth)
    assert helped.held_out_logits.shape == (20, NODES)


def test_a_view_shares_the_fold_of_its_row() -> None:
    features, labels, prior = problem(0, 40, noise=3.0)
    views = {free: Asides(features, labels, np.full(40, -1) if free else np.arange(40)) for free in (True, False)}
    seen = {
        free: fit_rows(features, labels, prior, asides=asides, lambdas=(1e-4,)).held_out_logits.argmax(1) == labels
        for free, asides in views.items()
    }
    assert seen[True].mean() > seen[False].mean() + 0.1, "a view that is learnt from gives its row away"
