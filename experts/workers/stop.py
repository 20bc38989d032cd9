"""Stops workers, whoever started them, whatever state they are in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from experts.workers.process import kill_group
from experts.workers.records import Records, RunningWorker

_LOOK = 0.1


def stop(workers: Sequence[RunningWorker], records: Records, *, patience: float = 30.0) -> None:
    """Asks the supervisors of ``workers`` to end, with all that they run, kills what remains, and removes the records.

    Args:
        patience: seconds until a supervisor that does not end is killed.
    """
    supervisors = {worker.supervisor for worker in workers}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for supervisor in supervisors:
            if supervisor.alive():
                with suppress(ProcessLookupError):
                    os.kill(supervisor.pid, number)
        deadline = time.monotonic() + patience
        while any(supervisor.alive() for supervisor in supervisors) and time.monotonic() < deadline:
            time.sleep(_LOOK)
    for worker in workers:
        left = records.read(worker.key)
        if left is None or left.supervisor != worker.supervisor:
            continue  # its supervisor cleaned up
        for server in left.servers:
            if server.process is not None:
                kill_group(server.process, until=records.written(left))
        records.remove(left)
