"""``tokengraph workers`` with stand-ins for vLLM: the command lines, processes and files are the real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app
from experts.workers.records import Records
from tests.experts.workers.conftest import gone

ROOT = Path(__file__).parents[3]
SPEC = """\
entry: a
workers:
  one: {engine: vllm, model: owner/one, replicas: 2}
  same: {engine: vllm, model: owner/one, replicas: 2}
  two: {engine: vllm, model: owner/two}
nodes:
  a: {kind: expert, worker: one}
  b: {kind: expert, worker: two}
  c: {kind: expert, worker: same}
edges:
  - {from: a, to: b}
  - {from: b, to: c}
"""


@pytest.fixture
def spec(state: Path) -> Path:
    path = state / "graph.yaml"
    path.write_text(SPEC)
    return path


def workers(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["workers", *map(str, arguments)])


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_up_status_down(spec: Path) -> None:
    up = workers("up", "--detach", spec)
    assert up.exit_code == 0, up.stderr
    assert "same shares the servers of one" in up.stderr and "two is ready at http://127.0.0.1:" in up.stderr
    rows = json.loads(workers("status", "--json", spec).stdout)
    assert [(row["worker"], row["replica"]) for row in rows] == [
        ("one", 0), ("one", 1), ("same", 0), ("same", 1), ("two", 0)
    ]  # fmt: skip
    assert rows[0]["url"] == rows[2]["url"] and len({row["pid"] for row in rows}) == 3
    assert all(row["healthy"] and row["restarts"] == 0 and row["uptime"] >= 0 and not row["error"] for row in rows)
    assert all(Path(row["log"]).is_file() and not gone(row["pid"]) for row in rows)
    table = workers("status", spec).stdout
    assert all(row["url"] in table and str(row["pid"]) in table and row["log"] in table for row in rows)

    again = workers("up", spec)
    assert again.exit_code == 0 and "two runs already" in again.stderr and "nothing to start" in again.stderr

    down = workers("down", spec)
    assert down.exit_code == 0 and "stopped: one, two" in down.stderr
    assert all(gone(row["pid"]) for row in rows) and Records().all() == []
    down = workers("down", spec)
    assert down.exit_code == 0 and "nothing runs from" in down.stderr
    assert {row["phase"] for row in json.loads(workers("status", "--json", spec).stdout)} == {"not running"}


def test_down_finds_what_the_spec_no_longer_names(spec: Path) -> None:
    assert workers("up", "--detach", spec).exit_code == 0
    spec.write_text(SPEC.replace("owner/two", "owner/three"))
    assert "stopped: one, two" in workers("down", spec).stderr


def test_down_by_another_spelling_of_the_path(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = spec.with_name("link.yaml")
    link.symlink_to(spec)
    monkeypatch.chdir(spec.parent)
    for started, stopped in ((spec, "./graph.yaml"), (link, spec), ("../" + spec.parent.name + "/graph.yaml", link)):
        assert workers("up", "--detach", started).exit_code == 0
        assert "stopped: one, two" in workers("down", stopped).stderr, (started, stopped)


def test_down_after_the_supervisor_was_killed(spec: Path) -> None:
    workers("up", "--detach", spec)
    found = Records().all()
    os.kill(found[0].supervisor.pid, signal.SIGKILL)
    wait_for(lambda: not found[0].supervisor.alive())
    assert {row["phase"] for row in json.loads(workers("status", "--json", spec).stdout)} == {"not running"}
    assert workers("down", spec).exit_code == 0
    assert Records().all() == []
    wait_for(lambda: all(gone(pid) for record in found for pid in record.pids))


@pytest.mark.parametrize("detach", [True, False])
def test_a_worker_that_cannot_start(spec: Path, state: Path, detach: bool) -> None:
    (state / "orders.json").write_text(json.dumps({"error": "OddError: it hurts"}))
    command = [sys.executable, "cli.py", "workers", "up", *(["--detach"] if detach else []), str(spec)]
    up = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert up.returncode == 1
    assert "did not start: OddError: it hurts. Its log: " in up.stderr and "Traceback" not in up.stderr
    rows = json.loads(workers("status", "--json", spec).stdout)
    assert "OddError: it hurts" in {row["error"] for row in rows} and not any(row["healthy"] for row in rows)
    (state / "orders.json").write_text("{}")
    assert workers("up", "--detach", spec).exit_code == 0
    assert workers("down", spec).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_the_foreground_until_it_is_stopped(spec: Path, number: int) -> None:
    command = [sys.executable, "cli.py", "workers", "up", str(spec)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as up:
        wait_for(lambda: len(found := Records().all()) == 2 and all(
            server.phase == "healthy" for record in found for server in record.servers
        ))  # fmt: skip
        pids = [pid for record in Records().all() for pid in record.pids]
        up.send_signal(number)
        _, err = up.communicate(timeout=30)
    assert up.returncode == 0 and err.endswith("stopped\n") and "one 1: healthy http://127.0.0.1:" in err
    assert len(pids) == 3 and all(map(gone, pids)) and Records().all() == []


def test_a_live_table_on_a_terminal(spec: Path) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "cli.py", "workers", "up", "--detach", str(spec)]
    variables = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color", "COLUMNS": "120"}
    up = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=variables)
    os.close(theirs)
    written = b""
    while True:
        try:
            written += os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
    os.close(ours)
    assert up.wait() == 0
    assert written.count(b"replica") > 1 and b"starting" in written and b"healthy" in written
    assert b"\x1b[?25h" in written  # the cursor is back
    assert workers("down", spec).exit_code == 0
