"""A trained head, how it does, and the tokens folder that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from router.functional.calibrate import (
    cross_fitted_error,
    expected_calibration_error,
    fit_temperature,
    fit_threshold,
    softmax,
)
from router.functional.encoder_data import EncoderData
from router.functional.head import TokenHead
from router.functional.report import TrainingReport
from router.functional.tokens_file import TokensFile, description_hash, save_tokens, token_texts
from router.program import program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidate:
    """A head, the model that it fits, and its logits: ``calibration`` of rows that it was not fitted on (with their
    labels), ``validation`` of the validation rows, ``off_topic`` of rows that belong to no node.

    The head may have learnt from the validation rows once they had scored the one that had not.
    """

    tune: Literal["rows", "encoder"]
    head: TokenHead
    fingerprint: str
    calibration: NDArray[np.float32]
    labels: NDArray[np.int64]
    validation: NDArray[np.float32]
    off_topic: NDArray[np.float32]
    regularisation: float
    epochs: int


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of rows whose highest logit is their label's. logits [n, c], labels [n]."""
    return float((logits.argmax(1) == labels).mean())


def write_tokens(
    out: Path, data: EncoderData, best: Candidate, prior: NDArray[np.float32], seed: int, seconds: float
) -> TrainingReport:
    """Calibrates a candidate and writes the tokens folder. ``prior`` are the validation logits of untrained tokens."""
    import numpy as np

    temperature = fit_temperature(best.calibration, best.labels)
    right = softmax(best.calibration, temperature).max(1)
    threshold = fit_threshold(right, softmax(best.off_topic, temperature).max(1)) if len(best.off_topic) else 0.0
    labels = data.validation_labels
    if best.tune == "rows":
        after = expected_calibration_error(softmax(best.validation, temperature), labels)
    else:  # the temperature was chosen on the validation rows themselves
        after = cross_fitted_error(best.validation, labels)
    report = TrainingReport(
        backbone="encoder", tune=best.tune, seed=seed, train_rows=len(data.train), validation_rows=len(labels),
        accuracy=accuracy(best.validation, labels), prior_accuracy=accuracy(prior, labels),
        best_single=float((labels == np.bincount(data.train_labels).argmax()).mean()), random=1 / len(data.targets),
        ece_before=expected_calibration_error(softmax(best.validation), labels), ece_after=after,
        regularisation=best.regularisation, epochs=best.epochs, seconds=seconds,
    )  # fmt: skip
    best.head.save(out)
    tokens = TokensFile(
        backbone="encoder", tokens=token_texts(data.targets, {}), temperature=temperature, threshold=threshold,
        fingerprint=best.fingerprint, layers=best.head.layers, report=report, created_with=program(),
        descriptions={target.node: description_hash(target.description, target.examples) for target in data.targets},
    )  # fmt: skip
    save_tokens(tokens, out)
    return report
