"""Fine-tunes a sentence encoder together with its rows, for graphs with many labelled queries.

The embeddings and the lower third of the layers stay frozen, which makes a step a third cheaper. The rows start
where `fit_rows` left them on the frozen encoder. Each pass sees other views of a query (without the answer options of a
multiple-choice question, or one half of it), so that the rows learn the topic, not the form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from experts.engines.config import LocalWorker
from router.functional.fit import Rows
from router.functional.trainable_encoder import EncoderSettings, TrainableEncoder
from router.functional.views import Labelled, batches, view

_WARM_UP = 0.1


@dataclass(frozen=True)
class TunedEncoder:
    """The rows that go with the encoder written, and the number of passes after which it was best."""

    rows: Rows
    epoch: int


def tune_encoder(
    worker: LocalWorker, folder: Path, train: Labelled, validation: Labelled, start: Rows, settings: EncoderSettings,
    progress: Callable[[float, float | None], None],
) -> TunedEncoder:  # fmt: skip
    """Writes the best encoder of all passes, by validation accuracy, as a complete checkpoint.

    On CUDA it computes in bfloat16, else in float32.

    Args:
        folder: where the checkpoint goes.
        progress: told the share done and, after each pass, the validation accuracy.

    Raises:
        CheckpointError: the encoder's files are missing or not accepted.
        TokenHeadError: the encoder has no stack of layers to tune.
    """
    import torch

    random = Random(settings.seed)
    with torch.random.fork_rng(devices=[worker.device] if worker.device.startswith("cuda") else []):
        torch.manual_seed(settings.seed)
        model = TrainableEncoder(worker, start, settings)
        steps = settings.epochs * math.ceil(len(train.texts) / settings.batch)
        optimiser = torch.optim.AdamW(model.groups())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share_of_peak(step, steps))
        best, best_epoch, best_state = model.accuracy(validation), 0, model.state()
        done = 0
        for epoch in range(1, settings.epochs + 1):
            for texts, labels in batches(train, settings.batch, random):
                loss = model.loss([view(text, random) for text in texts], labels)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.free(), 1.0)
                optimiser.step()
                schedule.step()
                done += 1
                progress(done / steps, None)
            accuracy = model.accuracy(validation)
            progress(done / steps, accuracy)
            if accuracy > best:
                best, best_epoch, best_state = accuracy, epoch, model.state()
            elif epoch - best_epoch >= settings.patience:
                break
        return TunedEncoder(model.save(best_state, folder), best_epoch)


def _share_of_peak(step: int, steps: int) -> float:
    return min((step + 1) / (_WARM_UP * steps), 1.0) * (1 - step / (steps + 1))
