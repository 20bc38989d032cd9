"""Trains functional tokens of an encoder: its rows, and with enough data the encoder too."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experts.engines.base import Engine
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from router.functional.candidate import Candidate, accuracy, write_tokens
from router.functional.data import LabelledQuery, Split
from router.functional.decision import Target
from router.functional.encoder import encode_targets
from router.functional.encoder_data import EncoderData
from router.functional.finetune_encoder import tune_encoder
from router.functional.fit import LAMBDAS, Rows, fit_rows
from router.functional.head import TokenHead
from router.functional.progress import Progress
from router.functional.report import TrainingReport
from router.functional.tokens_file import MODEL_NAME
from router.functional.trainable_encoder import EncoderSettings
from router.functional.turns import encode_dialogues
from router.functional.views import Labelled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ENOUGH_ROWS = 1000  # to tune the encoder rather than the rows alone
_DEFAULTS = EncoderSettings()


@dataclass(frozen=True)
class EncoderTraining:
    """What the user asked for; None is the default."""

    tune: Literal["auto", "rows", "encoder"] = "auto"
    epochs: int | None = None
    lr: float | None = None
    seed: int = 0
    regularisation: float | None = None


async def train_encoder(
    worker: LocalWorker, targets: Sequence[Target], rows: Split, out: Path, training: EncoderTraining,
    progress: Callable[[Progress], None],
) -> TrainingReport:  # fmt: skip
    """Writes a tokens folder.

    ``auto`` fits the rows and, from 1,000 training rows on, tunes the encoder too; it keeps what validates better. The
    example queries of the targets are trained on as well.

    Raises:
        DataError: no row of a node to train on or to validate with.
        CheckpointError: the model's files are missing or not accepted.
    """
    started = time.monotonic()
    data = EncoderData(targets, rows)
    folder = out / MODEL_NAME
    if folder.is_dir():
        shutil.rmtree(folder)  # of an earlier training
    progress(Progress("encoding", 0.0))
    engine = await create_engine(worker)
    try:
        best, prior = await _fit(engine, data, training)
    finally:
        await engine.close()
    progress(Progress("rows", 1.0, accuracy(best.validation, data.validation_labels)))
    if training.tune == "encoder" or (training.tune == "auto" and len(data.train) >= _ENOUGH_ROWS):
        tuned = await _tune(worker, folder, data, best.head.rows, training, progress)
        if training.tune == "encoder" or _better(tuned, best, data):
            best = tuned
        else:
            shutil.rmtree(folder)
    return write_tokens(out, data, best, prior, training.seed, time.monotonic() - started)


async def _fit(engine: Engine, data: EncoderData, training: EncoderTraining) -> tuple[Candidate, NDArray[np.float32]]:
    """Rows alone; also the prior's validation logits."""
    head = TokenHead.from_vectors(await encode_targets(data.targets, engine))
    features = await _encode(engine, data.train)
    lambdas = LAMBDAS if training.regularisation is None else (training.regularisation,)
    fitted = fit_rows(features, data.train_labels, head.start, lambdas=lambdas, seed=training.seed)
    validation, off_topic = await _encode(engine, data.validation), await _encode(engine, data.off_topic)
    rows = fitted.rows
    candidate = Candidate(
        "rows", TokenHead(head.nodes, rows, head.start, head.prior), engine.info.fingerprint, fitted.held_out_logits,
        data.train_labels, rows.logits(validation), rows.logits(off_topic), fitted.regularisation, 0,
    )  # fmt: skip
    return candidate, head.start.logits(validation)


async def _tune(
    worker: LocalWorker, folder: Path, data: EncoderData, start: Rows, training: EncoderTraining,
    progress: Callable[[Progress], None],
) -> Candidate:  # fmt: skip
    settings = EncoderSettings(
        epochs=training.epochs or _DEFAULTS.epochs, lr=training.lr or _DEFAULTS.lr, seed=training.seed,
        regularisation=_DEFAULTS.regularisation if training.regularisation is None else training.regularisation,
    )  # fmt: skip
    examples = [(text, label) for label, target in enumerate(data.targets) for text in target.examples]
    train = Labelled(
        [*(row.query for row in data.train), *(text for text, _ in examples)],
        [*map(int, data.train_labels), *(label for _, label in examples)],
    )
    validation = Labelled([row.query for row in data.validation], [*map(int, data.validation_labels)])
    tuned = tune_encoder(
        worker, folder, train, validation, start, settings,
        lambda done, accuracy: progress(Progress("encoder", done, accuracy)),
    )  # fmt: skip
    engine = await create_engine(worker.model_copy(update={"model": str(folder)}))
    try:
        head = TokenHead.from_vectors(await encode_targets(data.targets, engine))
        logits = tuned.rows.logits(await _encode(engine, data.validation))
        off_topic = tuned.rows.logits(await _encode(engine, data.off_topic))
        fingerprint = engine.info.fingerprint
    finally:
        await engine.close()
    return Candidate(
        "encoder", TokenHead(head.nodes, tuned.rows, head.start, head.prior), fingerprint, logits,
        data.validation_labels, logits, off_topic, settings.regularisation, tuned.epoch,
    )  # fmt: skip


async def _encode(engine: Engine, rows: Sequence[LabelledQuery]) -> NDArray[np.float32]:
    if rows:
        return await encode_dialogues(engine, [row.messages for row in rows])
    return (await engine.embed(["-"]))[:0]


def _better(one: Candidate, other: Candidate, data: EncoderData) -> bool:
    return accuracy(one.validation, data.validation_labels) > accuracy(other.validation, data.validation_labels)
