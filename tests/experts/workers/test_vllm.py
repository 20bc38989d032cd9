"""A real vLLM server: brought up, killed, come back, talked to, and left without its supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from experts.workers.records import Records, RunningWorker
from tests.experts.engines.checkpoints import save_checkpoint
from tests.experts.workers.conftest import gone

ROOT = Path(__file__).parents[3]
SPEC = """\
entry: a
workers:
  tiny:
    engine: vllm
    model: {model}
    dtype: float32
    arguments: {{max_model_len: 128, max_num_seqs: 8, kv_cache_memory_bytes: 67108864{more}}}
nodes:
  a: {{kind: expert, worker: tiny}}
"""


def workers(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "cli.py", "workers", *map(str, arguments)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def spec(folder: Path, more: str = "") -> Path:
    path = folder / "graph.yaml"
    path.write_text(SPEC.format(model=save_checkpoint(folder / "model", "qwen3"), more=more))
    return path


def status(path: Path) -> dict[str, Any]:
    (row,) = json.loads(workers("status", "--json", path).stdout)
    assert isinstance(row, dict)
    return row


def wait_for(condition: Callable[[], bool], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def ask(record: RunningWorker, model: str, key: str) -> httpx.Response:
    """Asks for three tokens."""
    content = {"model": model, "prompt": [7, 8, 9], "max_tokens": 3, "temperature": 0}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{record.urls[0]}/completions", json=content, headers=headers, timeout=120)


def tree(pid: int) -> set[int]:
    process = psutil.Process(pid)
    return {pid, *(child.pid for child in process.children(recursive=True))}


@pytest.mark.timeout(1200)
def test_a_life(tmp_path: Path, records: Records) -> None:
    pytest.importorskip("vllm", reason="vLLM's CPU build is installed by `make test`")
    path = spec(tmp_path)
    try:
        up = workers("up", "--detach", path)
        assert up.returncode == 0, up.stderr
        (record,) = records.all()
        model = str(tmp_path / "model")
        assert ask(record, model, record.api_key).json()["usage"]["completion_tokens"] == 3
        assert ask(record, model, "wrong").status_code == 401
        server = record.pids[0]
        assert record.api_key not in " ".join(psutil.Process(server).cmdline())

        before = tree(server)
        assert len(before) > 1  # vLLM's engine is a process of its own
        os.kill(server, signal.SIGKILL)
        wait_for(lambda: all(map(gone, before)))
        wait_for(lambda: (now := records.all()[0].servers[0]).phase == "healthy" and now.restarts == 1)
        row = status(path)
        assert row["pid"] not in before and row["url"] == record.urls[0] and "SIGKILL" in row["error"]
        assert ask(record, model, record.api_key).is_success

        before = tree(record.supervisor.pid)
        os.kill(record.supervisor.pid, signal.SIGKILL)
        wait_for(lambda: all(map(gone, before)))
        assert status(path)["phase"] == "not running"
    finally:
        assert workers("down", path).returncode == 0
    assert records.all() == []


@pytest.mark.timeout(600)
def test_a_server_that_cannot_start(tmp_path: Path, records: Records) -> None:
    pytest.importorskip("vllm", reason="vLLM's CPU build is installed by `make test`")
    up = workers("up", "--detach", spec(tmp_path, more=", max_modle_len: 9"))
    assert up.returncode == 1
    assert "worker tiny did not start: unrecognized arguments: --max-modle-len=9. Correct arguments" in up.stderr
    assert status(tmp_path / "graph.yaml")["phase"] == "failed"
    assert workers("down", tmp_path / "graph.yaml").returncode == 0
    assert records.all() == []
