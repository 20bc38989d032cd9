"""Keeps the servers of a plan alive and records what runs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from functools import partial

from experts.errors import WorkerError
from experts.workers.identity import ProcessId
from experts.workers.plan import Plan, PlannedWorker
from experts.workers.records import Records, RunningWorker
from experts.workers.restarts import Care
from experts.workers.server import Server

Watcher = Callable[[tuple[RunningWorker, ...]], None]


class Supervisor:
    """Runs all servers of a plan as children of this process.

    Args:
        watch: called with all workers after each change.
    """

    def __init__(self, plan: Plan, records: Records, *, care: Care | None = None, watch: Watcher | None = None) -> None:
        self._plan = plan
        self._records = records
        self._watch = watch
        self._me = ProcessId.of(os.getpid())
        self._servers = {
            worker.name: tuple(
                Server(
                    f"worker {worker.name}" + (f", replica {index}" if len(worker.launches) > 1 else ""),
                    launch, records.logs / _log_name(worker, index), care or Care(),
                    partial(self._changed, worker),
                )
                for index, launch in enumerate(worker.launches)
            )
            for worker in plan.workers
        }  # fmt: skip

    def workers(self) -> tuple[RunningWorker, ...]:
        """The workers as they are now."""
        return tuple(map(self._record, self._plan.workers))

    async def run(self) -> None:
        """Starts everything and stays until it is cancelled, or until there is nothing to keep alive.

        The records of what it stopped go; those of what failed stay, for ``tokengraph workers status``.

        Raises:
            WorkerError: a server did not start (then all are stopped), the last one crashed too often, or another
                supervisor runs one of the workers.
        """
        self._claim()
        tasks = [asyncio.create_task(server.keep_alive()) for servers in self._servers.values() for server in servers]
        try:
            await self._until_it_cannot_go_on(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for worker in self.workers():
                if not any(server.phase == "failed" for server in worker.servers):
                    self._records.remove(worker)

    async def _until_it_cannot_go_on(self, tasks: list[asyncio.Task[None]]) -> None:
        left = set(tasks)
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if not isinstance(error, WorkerError) or not self._all_started() or not left:
                    await task  # raises

    def _all_started(self) -> bool:
        """Whether every server has been healthy once."""
        return all(server.was_healthy for servers in self._servers.values() for server in servers)

    def _claim(self) -> None:
        with self._records.claiming():
            for worker in self._plan.workers:
                found = self._records.read(worker.key)
                if found is not None and found.running():
                    raise WorkerError(
                        f"expected nobody to run worker {worker.name}, found process {found.supervisor.pid}, which started "
                        f"it from {found.spec}. Stop it with `tokengraph workers down {found.spec}`"
                    )
            for record in self.workers():
                self._records.write(record)

    def _record(self, worker: PlannedWorker) -> RunningWorker:
        return RunningWorker(
            key=worker.key, name=worker.name, spec=self._plan.spec, api_key=worker.api_key,
            admin_token=worker.admin_token, supervisor=self._me,
            servers=tuple(server.record for server in self._servers[worker.name]),
        )  # fmt: skip

    def _changed(self, worker: PlannedWorker) -> None:
        self._records.write(self._record(worker))
        if self._watch is not None:
            self._watch(self.workers())


def _log_name(worker: PlannedWorker, replica: int) -> str:
    name = re.sub(r"[^\w.-]", "_", worker.name)
    return f"{name}-{worker.key}-{replica}.log"


async def run_until_stopped(supervisor: Supervisor) -> None:
    """Runs a supervisor until this process is asked to end (Ctrl-C, SIGTERM, a closed terminal); stops its servers then.

    Raises:
        WorkerError: as ``Supervisor.run``.
    """
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(supervisor.run())
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, running.cancel)
    try:
        await asyncio.wait([running])
        if not running.cancelled():
            running.result()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
