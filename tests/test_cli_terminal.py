"""The command in a real process: on a pseudo-terminal, in a pipe, and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ESCAPE = b"\x1b["
SPEC = """\
entry: start
workers:
  slow: {engine: scripted, rules: [{match: later, answer: late, seconds: 60}, {answer: "ready"}]}
nodes:
  start: {kind: expert, worker: slow}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "slow.yaml"
    path.write_text(SPEC)
    return path


def environment(**more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**plain, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **more}


def on_terminal(*arguments: object, **variables: str) -> tuple[bytes, int]:
    """What a command writes to a terminal, and its exit code."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "cli.py", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**variables),
        start_new_session=True,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    return written, process.wait()


def test_colours_on_a_terminal_but_not_with_no_color(spec: Path) -> None:
    written, code = on_terminal("graph", "show", spec)
    assert code == 0
    assert ESCAPE in written
    written, _ = on_terminal("graph", "show", spec, NO_COLOR="1")
    assert ESCAPE not in written
    assert b"start expert slow" in written


def test_a_pipe_gets_no_escapes(spec: Path) -> None:
    command = [sys.executable, "cli.py", "graph", "show", str(spec)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment())
    assert done.returncode == 0
    assert ESCAPE not in done.stdout + done.stderr


def test_an_answer_on_a_terminal_is_written_once(spec: Path) -> None:
    written, code = on_terminal("query", "now", "--graph", spec)
    assert code == 0
    assert written.rstrip().endswith(b"ready")
    assert written.count(b"ready") == 1


def test_batch_shows_its_progress(spec: Path, tmp_path: Path) -> None:
    queries, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    queries.write_text("".join(f'{{"id": {i}, "query": "now"}}\n' for i in range(3)))
    written, code = on_terminal("batch", queries, "--out", out, "--graph", spec)
    assert code == 0
    assert b"3/3" in written
    assert len(out.read_bytes().splitlines()) == 3


def test_control_c_stops_at_once(spec: Path, tmp_path: Path) -> None:
    queries, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    queries.write_text('{"id": 1, "query": "now"}\n{"id": 2, "query": "later"}\n')
    command = [sys.executable, "cli.py", "batch", str(queries), "--out", str(out), "--graph", str(spec)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # jobs in the background inherit "ignore"
    )  # fmt: skip
    while not (out.exists() and out.read_bytes()):  # the second query waits for a minute
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert [json.loads(line)["id"] for line in out.read_bytes().splitlines()] == [1]


def test_a_reader_that_leaves_early_is_no_error(spec: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "cli.py", "graph", "schema"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    process.wait()
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
