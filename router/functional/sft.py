"""Trains a decoder to route: functional tokens are merged into it, then its rows, adapters or all of it are tuned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from experts.engines.config import LocalWorker
from router.errors import TokenHeadError
from router.functional.calibrate import (
    cross_fitted_error,
    expected_calibration_error,
    fit_temperature,
    fit_threshold,
    softmax,
)
from router.functional.decision import Target
from router.functional.decoder_data import TrainingData, prepare
from router.functional.report import TrainingReport
from router.functional.sequences import LabelledDialogue
from router.functional.tokens_file import MODEL_NAME, save_tokens
from router.functional.tuning import Epoch, Settings, Tuned
from router.program import program

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

T = TypeVar("T")
Tune = Literal["rows", "lora", "model"]
_RATES = {"lora": 2e-4, "model": 2e-5}


def train_decoder(
    worker: LocalWorker,
    targets: Sequence[Target],
    train: Sequence[LabelledDialogue],
    validation: Sequence[LabelledDialogue],
    out: Path,
    *,
    tune: Tune | Literal["auto"] = "auto",
    system: str | None = None,
    epochs: int = 3,
    lr: float | None = None,
    regularisation: float | None = None,
    batch_tokens: int = 4096,
    patience: int = 2,
    seed: int = 0,
    progress: Callable[[Epoch], None] | None = None,
) -> TrainingReport:
    """Trains functional tokens of a decoder and writes a tokens folder with the whole model in ``model/``.

    Args:
        worker: the base model, with device and precision; one that has functional tokens keeps them and gets new ones.
        targets: the nodes; they are ordered as in the router's spec.
        train: labelled dialogues; ``reformulated`` teaches the call that follows the token, rows without a node teach
            abstaining.
        validation: chooses the best epoch, the temperature and the threshold.
        tune: ``rows``: the functional tokens alone, on hidden states computed once (the model writes no calls for nodes
            that it did not know); ``lora``: low-rank adapters, merged at the end; ``model``: all weights. ``auto`` is
            ``lora`` if there are reformulated queries to learn, else ``rows``.
        lr: peak learning rate; default 2e-4 for lora, 2e-5 for model.
        regularisation: lambda of lambda * ||E - E0||^2; default: chosen by cross-validation for rows, else 0.01.
        progress: told about every epoch.

    Raises:
        TokenHeadError: no training rows, or rows for nodes that are no targets.
        CheckpointError: the model's files are missing or not accepted.
    """
    from experts.engines.local.checkpoint import fingerprint
    from router.functional.decoder_rows import tune_rows
    from router.functional.finetune import tune_weights

    _check(targets, train, validation)
    started = time.monotonic()
    if tune == "auto":
        tune = "lora" if any(row.reformulated for row in train) else "rows"
    folder = out / MODEL_NAME
    data = _wait(prepare(worker, targets, train, validation, folder, rows_only=tune == "rows", system=system))
    if tune == "rows":
        tuned = tune_rows(data, folder, regularisation, seed)
    else:
        settings = Settings(
            tune=tune, epochs=epochs, lr=lr or _RATES[tune], batch_tokens=batch_tokens, patience=patience, seed=seed,
            regularisation=0.01 if regularisation is None else regularisation, device=worker.device,
            bfloat16=worker.dtype == "bfloat16",
        )  # fmt: skip
        tuned = tune_weights(data, folder, settings, progress or (lambda _: None))
    temperature, threshold = _calibrate(data, tuned.logits)
    report = _report(data, tuned, tune, seed, time.monotonic() - started)
    tokens = data.tokens.model_copy(
        update={
            "temperature": temperature, "threshold": threshold, "fingerprint": fingerprint(folder), "report": report,
            "created_with": program(),
        }
    )  # fmt: skip
    save_tokens(tokens, out)
    save_tokens(tokens, folder)  # so that the model can be used by itself
    return report


def _check(
    targets: Sequence[Target], train: Sequence[LabelledDialogue], validation: Sequence[LabelledDialogue]
) -> None:
    if not train or not validation:
        raise TokenHeadError(
            f"expected rows to train on and to validate with, found {len(train)} and {len(validation)}. Label more"
        )
    names = {target.node for target in targets}
    strangers = sorted({row.node for row in (*train, *validation) if row.node is not None} - names)
    if strangers:
        raise TokenHeadError(
            f"expected rows for {', '.join(sorted(names))}, found rows for {', '.join(strangers)}. Add edges to those "
            "nodes in the spec or remove their rows"
        )


def _calibrate(data: TrainingData, logits: NDArray[float32]) -> tuple[float, float]:
    """Temperature, and the threshold on the probability of the best node."""
    labels = data.labels(data.validation)
    temperature = fit_temperature(logits, labels)
    if (logits.argmax(-1) == labels).all():  # nothing limits how sure it may be: do not make it surer than it is
        temperature = max(temperature, 1.0)
    best = softmax(logits, temperature)[:, : len(data.targets)].max(-1)
    off_topic = labels == len(data.targets)
    return temperature, fit_threshold(best[~off_topic], best[off_topic])


def _report(data: TrainingData, tuned: Tuned, tune: Tune, seed: int, seconds: float) -> TrainingReport:
    import numpy as np

    labels = data.labels(data.validation)
    favourite = np.bincount(data.labels(data.train)).argmax()
    return TrainingReport(
        backbone="decoder", tune=tune, seed=seed, train_rows=len(data.train),
        validation_rows=len(data.validation), accuracy=float((tuned.logits.argmax(-1) == labels).mean()),
        prior_accuracy=float((tuned.prior_logits.argmax(-1) == labels).mean()),
        best_single=float((labels == favourite).mean()), random=1 / len(data.ids),
        ece_before=expected_calibration_error(softmax(tuned.logits), labels),
        ece_after=cross_fitted_error(tuned.logits, labels), regularisation=tuned.regularisation,
        epochs=tuned.epoch, exact_reformulation=tuned.exact, seconds=seconds,
    )  # fmt: skip


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine from synchronous code, also where an event loop runs already (a notebook)."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
