"""``tokengraph batch``: a file of queries, with a progress bar."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from router.console.graphs import graph_path
from router.console.terminal import console, note
from router.runtime.batch import BatchCount, run_batch
from router.runtime.router import Router


@contextmanager
def bar(what: str, *, total: float | None = None) -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar on standard error and its task; nothing is shown where that is no terminal.

    Its ``remark`` field is text beside the bar. A ``total`` that is known beforehand is a share, shown in percent.
    """
    err = console(stderr=True)
    count = MofNCompleteColumn() if total is None else TaskProgressColumn()
    remark = TextColumn("{task.fields[remark]}")
    shown = (TextColumn("{task.description}"), BarColumn(), count, remark, TimeRemainingColumn())
    with Progress(*shown, console=err, disable=not err.is_terminal) as progress:
        yield progress, progress.add_task(what, total=total, remark="")


def batch(queries: Path, out: Path, graph: Path | None, concurrency: int) -> int:
    """Answers a file of queries and says how it went; the exit code is 1 if some are without an answer."""
    router = Router.from_file(graph_path(graph))
    count = asyncio.run(_answered(router, queries, out, concurrency))
    text = f"{count.done - count.failed:,} answers in {out}"
    text += f", {count.earlier:,} lines were there before" if count.earlier else ""
    note(f"{text}." + (f" {count.failed:,} failed; to try those again, remove their lines." if count.failed else ""))
    return 1 if count.failed else 0


async def _answered(router: Router, queries: Path, out: Path, concurrency: int) -> BatchCount:
    with bar("answering") as (progress, task):

        def show(count: BatchCount) -> None:
            remark = f"{count.failed:,} failed" if count.failed else ""
            progress.update(task, completed=count.done, total=count.total, remark=remark)

        async with router:
            return await run_batch(router, queries, out, concurrency=concurrency, progress=show)
