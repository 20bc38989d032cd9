"""What is remembered about running workers."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experts.engines.config import VllmWorker
from experts.errors import WorkerError
from experts.workers.identity import ProcessId
from experts.workers.records import Records, RunningWorker, ServerRecord, find_running, state_folder, worker_key

WORKER = VllmWorker(engine="vllm", model="owner/model")


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setenv("TOKENGRAPH_STATE", str(tmp_path / "state"))
    return Records()


def record(supervisor: ProcessId | None = None, **server: Any) -> RunningWorker:
    one = ServerRecord(url="http://127.0.0.1:1/v1", log=Path("/l"), since=time.time(), phase="healthy", **server)
    return RunningWorker(
        key=worker_key(WORKER), name="w", spec="/s.yaml", api_key="k", admin_token="t",
        supervisor=supervisor or ProcessId.of(os.getpid()), servers=(one,),
    )  # fmt: skip


def test_found_while_its_supervisor_lives(records: Records) -> None:
    assert find_running(WORKER) is None
    mine = record()
    records.write(mine)
    assert find_running(WORKER) == mine
    assert mine.urls == ("http://127.0.0.1:1/v1",)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        records.write(record(ProcessId.of(other.pid)))
        assert find_running(WORKER) is not None
        other.communicate()
    assert find_running(WORKER) is None
    assert records.read(worker_key(WORKER)) is not None


def test_a_number_that_was_used_again_is_another_process() -> None:
    assert not ProcessId(pid=os.getpid(), started=ProcessId.of(os.getpid()).started - 100).alive()


def test_only_the_owner_can_read(records: Records) -> None:
    records.write(record())
    (file,) = (records.folder / "workers").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(f.stat().st_mode) for f in (records.folder, records.logs, file.parent)} == {0o700}


def test_the_record_of_another_supervisor_stays(records: Records) -> None:
    mine = record()
    records.write(mine)
    records.remove(record(ProcessId(pid=1, started=0)))
    assert records.all() == [mine]
    records.remove(mine)
    assert records.all() == []
    records.remove(mine)


def test_a_damaged_record_is_an_error(records: Records) -> None:
    records.write(record())
    (file,) = (records.folder / "workers").glob("*.json")
    file.write_text("{}")
    with pytest.raises(WorkerError, match="expected the record of a running worker in"):
        find_running(WORKER)


def test_what_only_clients_see_does_not_change_the_key() -> None:
    assert worker_key(WORKER) == worker_key(WORKER.model_copy(update={"queue": 1, "max_concurrency": 2}))
    assert worker_key(WORKER) != worker_key(WORKER.model_copy(update={"dtype": "float32"}))


def test_state_folders(tmp_path: Path) -> None:
    assert state_folder({"TOKENGRAPH_STATE": "/a", "XDG_STATE_HOME": "/b"}) == Path("/a")
    assert state_folder({"XDG_STATE_HOME": "/b"}) == Path("/b/tokengraph")
    assert state_folder({}) == Path.home() / ".local/state/tokengraph"
