"""Which process is meant, although numbers of processes are used again."""

from __future__ import annotations

import psutil
from pydantic import BaseModel, ConfigDict


class ProcessId(BaseModel):
    """A process: its number, and the time of its start, because numbers are used again."""

    model_config = ConfigDict(frozen=True)
    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The identity of a process that exists."""
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            same = bool(abs(process.create_time() - self.started) < 1)
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
