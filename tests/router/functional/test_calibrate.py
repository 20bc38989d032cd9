from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.functional.calibrate import (
    cross_fitted_error,
    expected_calibration_error,
    fit_temperature,
    fit_threshold,
    log_loss,
    softmax,
)


def overconfident(sharpness: float, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``sharpness`` times those that the labels were drawn from."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(rows, 5))
    labels = np.array([rng.choice(5, p=p) for p in softmax(logits)])
    return logits * sharpness, labels


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 6.0])
def test_temperature_recovers_the_sharpness(sharpness: float) -> None:
    assert fit_temperature(*overconfident(sharpness)) == pytest.approx(sharpness, rel=0.1)


def test_a_few_right_rows_do_not_make_everything_certain() -> None:
    logits, labels = np.eye(4) * 3, np.arange(4)
    assert 0.6 < softmax(logits, fit_temperature(logits, labels)).max() < 0.95


def test_calibration_error_falls() -> None:
    logits, labels = overconfident(6.0)
    before = expected_calibration_error(softmax(logits), labels)
    assert before > 0.3
    assert cross_fitted_error(logits, labels) < before / 5


def test_calibration_error_of_known_cases() -> None:
    sure = np.array([[1.0, 0.0]] * 4)
    assert expected_calibration_error(sure, np.array([0, 0, 0, 0])) == 0
    assert expected_calibration_error(sure, np.array([0, 1, 1, 1])) == pytest.approx(0.75)
    assert expected_calibration_error(np.array([[0.5, 0.5]] * 2), np.array([0, 1])) == pytest.approx(0.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_softmax_sums_to_one_and_keeps_the_order(logits: list[list[float]], temperature: float) -> None:
    probabilities = softmax(np.array(logits), temperature)
    assert np.allclose(probabilities.sum(-1), 1)
    assert (probabilities[range(len(logits)), np.argmax(logits, 1)] == probabilities.max(1)).all()


def test_log_loss_is_that_of_the_softmax() -> None:
    logits, labels = overconfident(2.0, rows=50)
    expected = -np.log(softmax(logits, 3.0)[np.arange(50), labels]).mean()
    assert log_loss(logits, labels, 3.0) == pytest.approx(expected)


def test_threshold_separates_and_is_zero_without_off_topic_rows() -> None:
    assert 0.4 < fit_threshold(np.array([0.6, 0.7, 0.9]), np.array([0.2, 0.3, 0.4])) < 0.6
    assert fit_threshold(np.array([0.6, 0.7]), np.array([])) == 0.0


def test_a_useless_signal_does_not_turn_everything_away() -> None:
    same = np.array([0.5, 0.5, 0.5])
    assert fit_threshold(same, same) <= 0.5
