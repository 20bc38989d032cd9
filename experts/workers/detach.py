"""Starts a supervisor that outlives this process, and follows it until its servers are healthy."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

from experts.errors import WorkerError
from experts.workers.diagnose import find_cause
from experts.workers.plan import Plan
from experts.workers.records import Records, RunningWorker
from experts.workers.supervisor import Watcher

_LOOK = 0.2


def start_detached(plan: Plan, records: Records, *, watch: Watcher | None = None) -> tuple[RunningWorker, ...]:
    """Returns the workers of ``plan`` when all their servers are healthy.

    The supervisor stays; ``experts.workers.stop`` ends it. If this is interrupted before, it ends too.

    Args:
        watch: called with the workers again and again, while they start.

    Raises:
        WorkerError: a server does not start, with the cause; nothing is left running then.
    """
    log = records.logs / f"supervisor-{hashlib.sha256(plan.spec.encode()).hexdigest()[:16]}.log"
    # The secrets of the plan travel through a pipe, where nobody else can read them.
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "experts.workers"], stdin=subprocess.PIPE, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        assert process.stdin is not None
        process.stdin.write(plan.model_dump_json().encode())
        process.stdin.close()
        return _followed(process, plan, records, log, watch)
    except BaseException:  # also Ctrl-C: a supervisor that nobody waits for must not stay
        process.terminate()
        process.wait()
        raise


def _followed(
    process: subprocess.Popen[bytes], plan: Plan, records: Records, log: Path, watch: Watcher | None
) -> tuple[RunningWorker, ...]:
    while True:
        ended = process.poll() is not None
        found = (records.read(worker.key) for worker in plan.workers)
        mine = tuple(record for record in found if record is not None and record.supervisor.pid == process.pid)
        if watch is not None and mine:
            watch(mine)
        if ended:
            written = log.read_text(encoding="utf-8", errors="replace").strip()
            raise WorkerError(str(find_cause(written) or written or f"the supervisor ended; its log is {log}"))
        servers = [server for record in mine for server in record.servers]
        if len(mine) == len(plan.workers) and all(server.phase == "healthy" for server in servers):
            return mine
        time.sleep(_LOOK)
