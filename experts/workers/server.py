"""One server, kept alive."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from experts.errors import WorkerError
from experts.workers.command import HOST, Launch
from experts.workers.diagnose import Cause, exit_cause, find_cause
from experts.workers.probe import Probe
from experts.workers.process import ServerProcess, running
from experts.workers.progress import step_of
from experts.workers.records import ServerRecord
from experts.workers.restarts import Care, Restarts
from experts.workers.sleeper import Sleeper

_PORTS_TO_TRY = 5


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def taken(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
        try:
            sock.bind((HOST, port))
        except OSError:
            return True
    return False


def _url(port: int) -> str:
    return f"http://{HOST}:{port}/v1"


class Server:
    """Starts a server and starts it again when it ends.

    Args:
        name: what messages call it.
        log: file for what it writes.
        changed: called after each change of ``record``.
    """

    def __init__(self, name: str, launch: Launch, log: Path, care: Care, changed: Callable[[], None]) -> None:
        self._name = name
        self._launch = launch
        self._care = care
        self._changed = changed
        self._ports_left = _PORTS_TO_TRY
        self.was_healthy = False
        self._port = free_port()
        self.record = ServerRecord(url=_url(self._port), log=log, since=time.time())

    async def keep_alive(self) -> None:
        """Runs the server until it cannot be kept alive; ``record`` says how it is. Cancel it to stop the server.

        Raises:
            WorkerError: the server did not start, or crashed too often; with the cause.
        """
        try:
            await self._start_again_and_again()
        except asyncio.CancelledError:
            self._show(phase="stopped", process=None, step="")
            raise

    async def _start_again_and_again(self) -> None:
        restarts = Restarts(self._care)
        while True:
            cause = await self._live()
            if cause.port_taken and self._ports_left:
                self._ports_left -= 1
                self._show(process=None)
                continue
            # What never worked would fail in the same way again.
            wait = restarts.wait(time.monotonic()) if self.was_healthy else None
            if wait is None:
                self._show(phase="failed", process=None, error=str(cause), step="")
                happened = f"crashed {restarts.count + 1} times" if self.was_healthy else "did not start"
                raise WorkerError(f"{self._name} {happened}: {str(cause).rstrip('.')}. Its log: {self.record.log}")
            self._show(
                phase="restarting", process=None, error=str(cause), restarts=restarts.count, step=f"in {wait:g} s"
            )
            await asyncio.sleep(wait)

    async def _live(self) -> Cause:
        """One life of the server, from its start to its end, and the cause of its end."""
        if taken(self._port):  # somebody else's answers would pass for the server's
            self._port = free_port()
        self._show(phase="starting", step="", url=_url(self._port))
        argv = (*self._launch.argv, "--port", str(self._port))
        async with (
            running(argv, self._launch.environment, self.record.log, grace=self._care.grace) as process,
            Probe(self.record.url) as probe,
        ):
            self._show(process=process.identity)
            return await self._watch(process, probe)

    async def _watch(self, process: ServerProcess, probe: Probe) -> Cause:
        born = heard = time.monotonic()
        sleeper: Sleeper | None = None
        healthy = False
        fine = latest = 0  # bytes of the log at the last two checks; what was written before all was well is no cause
        while not await process.ended(self._care.check):
            size = process.log_size()
            if await probe.healthy():
                if not healthy:
                    healthy = self.was_healthy = True
                    after = self._launch.sleep_after
                    sleeper = Sleeper(after, time.monotonic()) if after else None
                    self._show(phase="healthy", step="")
                fine, latest = latest, size
                await self._rest(sleeper, probe)
                heard = time.monotonic()  # not before: to fall asleep or wake may take longer than the silence allowed
            elif not healthy:
                self._show(step=step_of(process.log_text()))
            limit = self._care.silence if healthy else self._care.start
            if time.monotonic() - (heard if healthy else born) > limit:
                step = f" (it was {self.record.step})" if self.record.step else ""
                return Cause(f"no answer from /health for {limit:g} s{step}")
        assert process.exit_code is not None
        written = find_cause(process.log_text(fine)) if process.exit_code <= 128 else None
        return written or exit_cause(process.exit_code)

    async def _rest(self, sleeper: Sleeper | None, probe: Probe) -> None:
        if sleeper is None:
            return
        try:
            await sleeper.check(probe, time.monotonic())
        except httpx.HTTPError as error:
            self._show(error=f"sleep mode: {error!r}")
        self._show(phase="asleep" if sleeper.asleep else "healthy")

    def _show(self, **changes: Any) -> None:
        before = self.record
        if changes.get("phase", before.phase) != before.phase:
            changes["since"] = time.time()
        self.record = before.model_copy(update=changes)
        if self.record != before:
            self._changed()
