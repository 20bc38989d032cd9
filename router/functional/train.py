"""`train_functional_tokens`: from a graph and labelled queries to a tokens folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from experts.engines.config import LocalWorker
from router.errors import TokenHeadError
from router.functional.data import read_labelled, split_rows
from router.functional.progress import Progress
from router.functional.report import TrainingReport
from router.functional.targets import router_node, targets_of
from router.spec.models import GraphSpec
from router.types import NodeId

if TYPE_CHECKING:
    from router.functional.tuning import Epoch

Tune = Literal["auto", "rows", "encoder", "lora", "model"]


def train_functional_tokens(
    spec: GraphSpec,
    data: Path,
    out: Path,
    *,
    node: NodeId | None = None,
    tune: Tune = "auto",
    epochs: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    regularisation: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> TrainingReport:
    """Trains the functional tokens of a router node and writes a tokens folder.

    Args:
        spec: the graph.
        data: labelled queries (`router.functional.data`).
        out: the tokens folder; ``tokens: OUT`` in the router node uses it.
        node: the router node; needed only if the graph has several.
        tune: what learns. Encoder: ``rows`` alone or the ``encoder`` too. Decoder: ``rows``, ``lora`` or the whole
            ``model``. ``auto``: an encoder's rows alone; for a decoder by the data.
        epochs: passes over the data at most; default by backbone. Rows alone are fitted to the end.
        lr: peak learning rate; default by backbone.
        seed: of all that is random.
        regularisation: lambda; default: by cross-validation for rows, else a small constant.
        progress: told how far it is.

    Raises:
        GraphError: no such router node.
        DataError: the data are wrong.
        TokenHeadError: the worker cannot be trained, or does not fit ``tune``.
        CheckpointError: the model's files are missing or not accepted.
    """
    name, router = router_node(spec, node)
    worker = spec.workers[router.worker]
    if not isinstance(worker, LocalWorker):
        raise TokenHeadError(
            f"expected a worker with engine: local to train {name}, found {worker.engine}. Give {router.worker} "
            "a local model for training; the result can be served by any engine"
        )
    targets = targets_of(spec, name)
    _check_tune(tune, worker)
    rows = split_rows(read_labelled(data, [target.node for target in targets]))
    report = progress or (lambda _: None)
    if worker.task == "embed":
        from router.functional.train_encoder import EncoderTraining, train_encoder

        training = EncoderTraining(cast(Literal["auto", "rows", "encoder"], tune), epochs, lr, seed, regularisation)
        return _run(lambda: train_encoder(worker, targets, rows, out, training, report))
    from router.functional.sft import train_decoder

    def tell(epoch: Epoch) -> None:
        report(Progress("decoder", epoch.number / max(epoch.epochs, 1), float(epoch.evaluation.right.mean())))

    options: dict[str, int] = {} if epochs is None else {"epochs": epochs}
    return train_decoder(
        worker, targets, rows.train, rows.validation, out, system=router.system,
        tune=cast(Literal["auto", "rows", "lora", "model"], tune), lr=lr, seed=seed, regularisation=regularisation,
        progress=tell, **options,
    )  # fmt: skip


def _check_tune(tune: Tune, worker: LocalWorker) -> None:
    kind, allowed = (
        ("an encoder", ("auto", "rows", "encoder")) if worker.task == "embed"
        else ("a decoder", ("auto", "rows", "lora", "model"))
    )  # fmt: skip
    if tune not in allowed:
        raise TokenHeadError(f"expected tune to be one of {', '.join(allowed)} for {kind}, found {tune}. Change it")


def _run(work: Callable[[], Coroutine[None, None, TrainingReport]]) -> TrainingReport:
    """Runs a coroutine to its end, also from within a running event loop (a notebook)."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()
