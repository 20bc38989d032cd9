"""Servers of workers as rows of a table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from experts.workers.records import RunningWorker
from router.console.terminal import printable

_STYLES = {"healthy": "green", "asleep": "blue", "failed": "bold red", "no answer": "bold red"}


@dataclass(frozen=True)
class Row:
    """One server of a worker.

    Attributes:
        phase: starting, healthy, asleep, restarting, failed, stopped; not running, no answer.
        since: Unix time of the beginning of the phase.
    """

    worker: str
    replica: int
    phase: str
    step: str = ""
    since: float | None = None
    restarts: int = 0
    pid: int | None = None
    url: str | None = None
    log: Path | None = None
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long the phase lasts."""
        return None if self.since is None else max(0.0, time.time() - self.since)

    def as_json(self) -> dict[str, object]:
        """What ``workers status --json`` says of it; ``uptime`` in seconds."""
        content = asdict(self)
        del content["since"]
        up = self.phase in ("healthy", "asleep")
        uptime = None if self.seconds is None or not up else round(self.seconds, 1)
        return {**content, "log": None if self.log is None else str(self.log), "healthy": up, "uptime": uptime}


def rows_of(record: RunningWorker, name: str | None = None) -> list[Row]:
    """A row for each replica.

    Args:
        name: what the worker is called; default: as it was when it was started.
    """
    kept = record.running()
    return [
        Row(
            name or record.name, index, server.phase if kept or server.phase == "failed" else "not running",
            step=server.step if kept else "", since=server.since if kept else None, restarts=server.restarts,
            pid=server.process.pid if kept and server.process is not None else None, url=server.url if kept else None,
            log=server.log, error=server.error,
        )
        for index, server in enumerate(record.servers)
    ]  # fmt: skip


def starting_table(workers: Sequence[RunningWorker]) -> Table:
    """Worker, replica, phase, seconds in it and address, as shown while ``workers up`` runs."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for title in ("worker", "replica", "phase", "seconds", "url"):
        table.add_column(title, justify="right" if title in ("replica", "seconds") else "left", no_wrap=True)
    for row in (row for worker in workers for row in rows_of(worker)):
        table.add_row(row.worker, str(row.replica), _phase(row), f"{row.seconds or 0:.0f}", row.url or "")
    return table


def status_table(rows: Sequence[Row]) -> Table:
    """What is known of each server, but for its log and its last error."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for title in ("worker", "replica", "phase", "seconds", "restarts", "pid", "url"):
        right = title in ("replica", "seconds", "restarts", "pid")
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        pid = "" if row.pid is None else str(row.pid)
        table.add_row(row.worker, str(row.replica), _phase(row), seconds, str(row.restarts), pid, row.url or "")
    return table


def remarks(rows: Sequence[Row]) -> Iterator[Text]:
    """A line for each log, and one for each last error."""
    for row in rows:
        name = f"{row.worker} {row.replica}"
        if row.log is not None:
            yield Text(f"{name}: log {row.log}", style="dim")
        if row.error:
            yield Text(f"{name}: last error: {printable(row.error)}", style="red")


def _phase(row: Row) -> Text:
    return Text(f"{row.phase}: {row.step}" if row.step else row.phase, style=_STYLES.get(row.phase, "yellow"))
