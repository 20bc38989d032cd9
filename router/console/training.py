"""``tokengraph train functional-tokens``."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

from rich.table import Table

from router.console.batch import bar
from router.console.graphs import graph_path
from router.console.terminal import console, write_json
from router.functional.progress import Progress
from router.functional.report import TrainingReport
from router.functional.tokens_file import load_tokens
from router.functional.train import Tune, train_functional_tokens
from router.spec import load_spec
from router.types import NodeId


@dataclass(frozen=True)
class TrainingOptions:
    """What the command line says about training; None is the default of ``train_functional_tokens``."""

    node: str | None
    tune: Tune
    epochs: int | None
    learning_rate: float | None
    regularisation: float | None
    seed: int


def train(graph: Path | None, data: Path, out: Path, options: TrainingOptions, *, as_json: bool) -> None:
    """Trains the functional tokens of a router node, with a progress bar, and shows the report."""
    path = graph_path(graph)
    spec = load_spec(path)
    with bar("training", total=1.0) as (progress, task), interruptible():

        def show(now: Progress) -> None:
            progress.update(task, description=now.stage, completed=now.done)
            if now.accuracy is not None:
                progress.update(task, remark=f"validation accuracy {now.accuracy:.1%}")

        report = train_functional_tokens(
            spec, data, out, node=None if options.node is None else NodeId(options.node), tune=options.tune,
            epochs=options.epochs, lr=options.learning_rate, seed=options.seed, regularisation=options.regularisation,
            progress=show,
        )  # fmt: skip
    threshold = load_tokens(out).threshold
    if as_json:
        write_json({**json.loads(report.model_dump_json()), "threshold": threshold, "tokens": str(out)})
    else:
        _show(report, threshold, path, out)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends the process at once: training runs in threads that would otherwise be waited for."""
    if current_thread() is not main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        console(stderr=True).show_cursor(True)
        os._exit(130)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show(report: TrainingReport, threshold: float, graph: Path, out: Path) -> None:
    table = Table("", box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    rows = [
        ("validation accuracy", ""),
        ("  trained", f"{report.accuracy:.1%}"),
        ("  prior only (descriptions and examples)", f"{report.prior_accuracy:.1%}"),
        ("  best single node", f"{report.best_single:.1%}"),
        ("  random", f"{report.random:.1%}"),
        ("calibration error (ECE)", ""),
        ("  before", f"{report.ece_before:.3f}"),
        ("  after", f"{report.ece_after:.3f}"),
        ("abstains below", f"{threshold:.3f}" if threshold else "never"),
        ("rows: training, validation", f"{report.train_rows:,}, {report.validation_rows:,}"),
        ("what was tuned", f"{report.tune} of the {report.backbone}"),
    ]
    if report.exact_reformulation is not None:
        rows.append(("queries reformulated exactly", f"{report.exact_reformulation:.1%}"))
    for name, value in [*rows, ("time", f"{report.seconds:.1f} s"), ("seed", str(report.seed))]:
        table.add_row(name, value)
    screen = console()
    screen.print(table)
    command = shlex.join(["tokengraph", "route", "your query", "--graph", str(graph), "--tokens", str(out)])
    screen.print(f"\nTry them:  {command}", soft_wrap=True)
    screen.print(f"Keep them: write `tokens: {out.absolute()}` below the router node in {graph}", soft_wrap=True)
