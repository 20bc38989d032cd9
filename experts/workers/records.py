"""What runs: one JSON file a worker in the state folder, readable by its owner only."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from experts.engines.config import VllmWorker
from experts.errors import WorkerError
from experts.workers.identity import ProcessId

Phase = Literal["starting", "healthy", "asleep", "restarting", "failed", "stopped"]
# Changing these changes how a worker is used, not what runs.
_OF_CLIENTS = {"queue", "max_concurrency"}


class ServerRecord(BaseModel):
    """One server, as its supervisor last saw it.

    Attributes:
        url: its base URL, ``http://HOST:PORT/v1``.
        log: what it writes.
        phase: whether it serves (healthy, asleep), will serve (starting, restarting), or not any more (failed,
            stopped).
        since: Unix time of the beginning of the phase.
        step: while it starts, what it does.
        process: the server's process, which leads a process group of its own; None between two starts.
        restarts: how often it was started again.
        error: why it last ended.
    """

    model_config = ConfigDict(frozen=True)
    url: str
    log: Path
    phase: Phase = "starting"
    since: float
    step: str = ""
    process: ProcessId | None = None
    restarts: int = 0
    error: str | None = None


class RunningWorker(BaseModel):
    """One worker and its servers.

    Attributes:
        key: identifies what the worker runs, see ``worker_key``.
        spec: path of the graph spec that it was started from.
        api_key: key of its servers, the same for all replicas.
        admin_token: secret of tokengraph's plugins in its servers.
        supervisor: the process that keeps it alive.
        servers: its replicas.
    """

    model_config = ConfigDict(frozen=True)
    key: str
    name: str
    spec: str
    api_key: str
    admin_token: str
    supervisor: ProcessId
    servers: tuple[ServerRecord, ...]

    def running(self) -> bool:
        """Whether somebody keeps it alive; its servers need not be healthy at this moment."""
        return self.supervisor.alive() and any(server.phase not in ("failed", "stopped") for server in self.servers)

    @property
    def urls(self) -> tuple[str, ...]:
        """Base URL of each replica; they stay while the worker runs, also through restarts."""
        return tuple(server.url for server in self.servers)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process of each replica that has one now."""
        return tuple(server.process.pid for server in self.servers if server.process is not None)

    @property
    def logs(self) -> tuple[Path, ...]:
        """Log file of each replica."""
        return tuple(server.log for server in self.servers)


def worker_key(worker: VllmWorker) -> str:
    """16 hexadecimal digits that differ for workers that need different servers."""
    return hashlib.sha256(worker.model_dump_json(exclude=_OF_CLIENTS).encode()).hexdigest()[:16]


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where records and logs are: $TOKENGRAPH_STATE, else tokengraph in $XDG_STATE_HOME or ~/.local/state."""
    if named := environ.get("TOKENGRAPH_STATE"):
        return Path(named).absolute()
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "tokengraph"


def find_running(worker: VllmWorker) -> RunningWorker | None:
    """The record of a worker that ``tokengraph workers up`` keeps alive on this machine; None if nobody does.

    Its servers need not be healthy at this moment.

    Raises:
        WorkerError: the record cannot be read.
    """
    record = Records().read(worker_key(worker))
    return record if record is not None and record.running() else None


class Records:
    """The records in a state folder.

    Args:
        folder: default: ``state_folder()``.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_folder()
        self._workers = self.folder / "workers"

    @property
    def logs(self) -> Path:
        """The folder of log files, which exists after this."""
        return self._private("logs")

    def read(self, key: str) -> RunningWorker | None:
        """One record, stale or not; None if there is none. Raises WorkerError if it cannot be read."""
        file = self._file(key)
        try:
            return RunningWorker.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise WorkerError(
                f"expected the record of a running worker in {file}, found something else "
                f"({error.error_count()} errors). Stop its processes and remove the file"
            ) from error

    def written(self, record: RunningWorker) -> float:
        """Unix time of the last change of a record that exists."""
        return self._file(record.key).stat().st_mtime

    def all(self) -> list[RunningWorker]:
        """Every record, stale ones too, by worker name."""
        found = (self.read(file.stem) for file in self._workers.glob("*.json"))
        return sorted((record for record in found if record is not None), key=lambda record: record.name)

    def write(self, record: RunningWorker) -> None:
        """Writes or replaces a record; a reader sees the old one or the new one."""
        handle, name = tempfile.mkstemp(dir=self._private("workers"), prefix=".")  # readable by the owner only
        with os.fdopen(handle, "wb") as file:
            file.write(record.model_dump_json(indent=2).encode())
        os.replace(name, self._file(record.key))

    def remove(self, record: RunningWorker) -> None:
        """Removes a record, unless another supervisor has replaced it."""
        with self.claiming():
            now = self.read(record.key)
            if now is not None and now.supervisor == record.supervisor:
                self._file(record.key).unlink(missing_ok=True)

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Within the context no other process may decide who runs a worker."""
        with (self._private("workers") / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _file(self, key: str) -> Path:
        return self._workers / f"{key}.json"

    def _private(self, name: str) -> Path:
        """A folder in the state folder, both for their owner only if they are new."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        return self.folder / name
