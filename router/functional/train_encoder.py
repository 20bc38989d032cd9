"""Trains functional tokens of an encoder: its rows, and on request the encoder too."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from router.functional.candidate import Candidate, accuracy, write_tokens
from router.functional.data import Split
from router.functional.decision import Target
from router.functional.encoder import encode_targets
from router.functional.encoder_data import EncoderData
from router.functional.finetune_encoder import tune_encoder
from router.functional.fit import LAMBDAS, Rows
from router.functional.head import TokenHead
from router.functional.progress import Progress
from router.functional.report import TrainingReport
from router.functional.tokens_file import MODEL_NAME
from router.functional.train_rows import RowsTraining, encode, train_rows
from router.functional.trainable_encoder import EncoderSettings
from router.functional.views import Labelled

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
    """Writes a tokens folder; the worker's model may be the one in it, of an earlier training.

    ``auto`` is ``rows``: they are fitted on every layer of the frozen encoder, which scored higher than tuning the
    encoder did and takes minutes. Tuning it is for who asks. The example queries of the targets and multiple-choice
    questions without their options are trained on as well.

    Raises:
        DataError: no row of a node to train on or to validate with.
        CheckpointError: the model's files are missing or not accepted.
    """
    started = time.monotonic()
    data = EncoderData(targets, rows)
    progress(Progress("encoding", 0.0))
    # Where the encoder is tuned next, its rows start from these, and the validation rows are to judge it.
    frozen = training.tune != "encoder"
    lambdas = LAMBDAS if training.regularisation is None else (training.regularisation,)
    how = RowsTraining(layers=frozen, pairs=frozen, refit=frozen, lambdas=lambdas, seed=training.seed)
    engine = await create_engine(worker)
    try:
        best, prior = await train_rows(engine, data, how)
    finally:
        await engine.close()
    progress(Progress("rows", 1.0, accuracy(best.validation, data.validation_labels)))
    if training.tune == "encoder":
        with _taking_the_place_of(out / MODEL_NAME) as folder:
            best = await _tune(worker, folder, data, best.head.rows, training, progress)
    else:
        _remove_unless_used(out / MODEL_NAME, worker)
    return write_tokens(out, data, best, prior, training.seed, time.monotonic() - started)


@contextmanager
def _taking_the_place_of(folder: Path) -> Iterator[Path]:
    """A folder beside another, whose place it takes at the end; the other stays as it is until then, or if that fails."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    beside.mkdir(parents=True)
    try:
        yield beside
        if folder.is_dir():
            shutil.rmtree(folder)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _remove_unless_used(folder: Path, worker: LocalWorker) -> None:
    """The encoder of an earlier training goes, unless it is the one that the rows were fitted for."""
    if folder.is_dir() and folder.resolve() != Path(worker.model).resolve():
        shutil.rmtree(folder)


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
        logits = tuned.rows.logits(await encode(engine, [row.messages for row in data.validation]))
        off_topic = tuned.rows.logits(await encode(engine, [row.messages for row in data.off_topic]))
        fingerprint = engine.info.fingerprint
    finally:
        await engine.close()
    return Candidate(
        "encoder", TokenHead(head.nodes, tuned.rows, head.start, head.prior), fingerprint, logits,
        data.validation_labels, logits, off_topic, settings.regularisation, tuned.epoch,
    )  # fmt: skip
