"""One server process, which ends with its supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from experts.workers import guard
from experts.workers.identity import ProcessId

_TAIL = 4 << 20  # bytes of a log that are looked at
_MARGIN = 10.0  # seconds that the guard may need beyond the grace that it gives


class ServerProcess:
    """A server that was started; made by ``running``."""

    def __init__(self, guard: asyncio.subprocess.Process, identity: ProcessId | None, log: Path) -> None:
        self._guard = guard
        self.identity = identity
        self._log = log

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 and the number of a signal that ended it."""
        code = self._guard.returncode
        return code if code is None or code >= 0 else 128 - code

    async def ended(self, timeout: float) -> bool:
        """Waits until the process has ended, ``timeout`` seconds at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._guard.wait(), timeout)
        return self.exit_code is not None

    def log_size(self) -> int:
        """Bytes written so far."""
        return self._log.stat().st_size

    def log_text(self, start: int = 0) -> str:
        """What the server wrote from byte ``start`` on, the last 4 MiB at most."""
        with self._log.open("rb") as file:
            file.seek(max(start, self.log_size() - _TAIL))
            return file.read().decode("utf-8", errors="replace")


@asynccontextmanager
async def running(
    argv: Sequence[str], environment: Mapping[str, str], log: Path, *, grace: float
) -> AsyncIterator[ServerProcess]:
    """Starts a server; on leaving, however that happens, it is stopped with all the processes that it started.

    Args:
        environment: variables on top of those of this process.
        log: file for all that it writes; an earlier one becomes ``LOG.previous``.
        grace: seconds between asking it to end and killing it.
    """
    if log.exists():
        log.replace(log.with_name(f"{log.name}.previous"))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        guarded = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", guard.__file__, str(grace), *argv, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=output, env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(output)
    identity = None
    try:
        assert guarded.stdout is not None
        line = await guarded.stdout.readline()
        identity = _identity(int(line)) if line else None  # none: the command could not be started
        yield ServerProcess(guarded, identity, log)
    finally:
        await asyncio.shield(_stop(guarded, identity, grace))


def _identity(pid: int) -> ProcessId | None:
    try:
        return ProcessId.of(pid)
    except psutil.NoSuchProcess:  # it ended at once
        return None


async def _stop(guarded: asyncio.subprocess.Process, identity: ProcessId | None, grace: float) -> None:
    assert guarded.stdin is not None
    guarded.stdin.close()
    try:
        await asyncio.wait_for(guarded.wait(), grace + _MARGIN)
    except TimeoutError:
        guarded.kill()
        await guarded.wait()
    if guarded.returncode == -signal.SIGKILL and identity is not None:
        kill_group(identity)  # the guard was killed, so nobody cleaned up after it


def kill_group(leader: ProcessId, *, until: float | None = None) -> None:
    """Kills what is left of the process group that ``leader`` led.

    Args:
        until: Unix time; where the leader itself is gone, and its number may belong to others by now, only processes
            that had been started then are killed.
    """
    if leader.alive():
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)
        return
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            started = process.create_time()
            ours = os.getpgid(process.pid) == leader.pid and leader.started - 1 < started
            if ours and (until is None or started <= until):
                process.kill()
