"""``tokengraph workers``: up, status, down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.live import Live

from experts.engines.config import VllmWorker
from experts.workers.detach import start_detached
from experts.workers.devices import built_for_cpu, find_gpus
from experts.workers.plan import Plan, plan
from experts.workers.probe import Probe
from experts.workers.records import Records, RunningWorker, find_running, worker_key
from experts.workers.stop import stop
from experts.workers.supervisor import Supervisor, Watcher, run_until_stopped
from router.console.graphs import graph_path
from router.console.terminal import console, note, write_json
from router.console.workers_table import Row, remarks, rows_of, starting_table, status_table
from router.spec import load_spec


def up(path: Path | None, *, detach: bool) -> None:
    """Starts what does not run yet; stays until Ctrl-C, or with ``detach`` until all servers are healthy.

    Raises:
        SpecError: the spec is wrong.
        WorkerPlanError: the spec asks for what this machine does not have.
        WorkerError: a server cannot be started, with the cause.
    """
    path = graph_path(path).absolute()
    wanted = {name: worker for name, worker in _vllm_workers(path).items() if not worker.attached}
    missing = _not_running(wanted)
    if not missing:
        note("nothing to start" if wanted else f"{path} names no vLLM worker that is to be started here")
        return
    started = plan(str(path), missing, gpus=find_gpus(), cpu=built_for_cpu())
    with _progress() as watch:
        if detach:
            workers = start_detached(started, Records(), watch=watch)
        else:
            asyncio.run(_stay(started, watch))
            note("stopped")
            return
    for row in (row for worker in workers for row in rows_of(worker)):
        note(f"{row.worker} is ready at {row.url}")
    note(f"They keep running. To stop them: tokengraph workers down {path}")


def status(path: Path | None, *, as_json: bool) -> None:
    """Shows every server of the workers that a spec names, one that runs elsewhere too."""
    rows = asyncio.run(_rows(_vllm_workers(graph_path(path))))
    if as_json:
        write_json([row.as_json() for row in rows])
    elif rows:
        out = console()
        out.print(status_table(rows))
        for line in remarks(rows):
            out.print(line, soft_wrap=True)
    else:
        note(f"{graph_path(path)} names no vLLM worker")


def down(path: Path | None) -> None:
    """Stops everything that was started from a spec, also what the spec no longer names, and removes its records."""
    path = graph_path(path).absolute()
    records, real = Records(), path.resolve()
    workers = [record for record in records.all() if Path(record.spec).resolve() == real]
    stop(workers, records)
    note(f"stopped: {', '.join(worker.name for worker in workers)}" if workers else f"nothing runs from {path}")


def _vllm_workers(path: Path) -> dict[str, VllmWorker]:
    return {name: worker for name, worker in load_spec(path).workers.items() if isinstance(worker, VllmWorker)}


def _not_running(workers: Mapping[str, VllmWorker]) -> dict[str, VllmWorker]:
    """The workers that have to be started; of equal ones, which share their servers, the first."""
    missing: dict[str, tuple[str, VllmWorker]] = {}
    for name, worker in workers.items():
        key = worker_key(worker)
        if (found := find_running(worker)) is not None:
            note(f"{name} runs already: process {found.supervisor.pid} keeps it alive, started from {found.spec}")
        elif key in missing:
            note(f"{name} shares the servers of {missing[key][0]}")
        else:
            missing[key] = (name, worker)
    return dict(missing.values())


async def _stay(started: Plan, watch: Watcher) -> None:
    await run_until_stopped(Supervisor(started, Records(), watch=watch))


@contextmanager
def _progress() -> Iterator[Watcher]:
    """Shows workers on standard error: a live table on a terminal, else a line for each change of a phase."""
    err = console(stderr=True)
    if err.is_terminal:
        shown: tuple[RunningWorker, ...] = ()

        def draw(workers: tuple[RunningWorker, ...]) -> None:
            nonlocal shown
            shown = workers

        # Drawn four times a second, because the seconds go on while nothing changes.
        with Live(get_renderable=lambda: starting_table(shown), console=err, refresh_per_second=4):
            yield draw
        return
    phases: dict[tuple[str, int], str] = {}

    def tell(workers: tuple[RunningWorker, ...]) -> None:
        for row in (row for worker in workers for row in rows_of(worker)):
            if phases.get((row.worker, row.replica)) != row.phase:
                phases[row.worker, row.replica] = row.phase
                note(f"{row.worker} {row.replica}: {row.phase} {row.error or row.url or ''}".rstrip())

    yield tell


async def _rows(workers: Mapping[str, VllmWorker]) -> list[Row]:
    rows: list[Row] = []
    for name, worker in workers.items():
        if worker.attached:
            answers = await asyncio.gather(*map(_answers, worker.attached))
            phases = ("healthy" if answer else "no answer" for answer in answers)
            rows += (Row(name, i, p, url=u) for i, (p, u) in enumerate(zip(phases, worker.attached, strict=True)))
        elif (record := Records().read(worker_key(worker))) is None:
            rows.append(Row(name, 0, "not running"))
        else:
            rows += rows_of(record, name)
    return rows


async def _answers(url: str) -> bool:
    async with Probe(url) as probe:
        return await probe.healthy()
