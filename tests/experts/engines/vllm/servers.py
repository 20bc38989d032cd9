"""Real vLLM servers for tests, one at a time; see forkserver.py for how they start fast."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

KEY = "a key of the tests"
ADMIN = "an admin token of the tests"
SETTINGS = (
    "--host", "127.0.0.1", "--api-key", KEY, "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16",
    "--block-size", "32", "--kv-cache-memory-bytes", str(64 << 20), "--distributed-executor-backend", "uni",
    "--disable-uvicorn-access-log",
)  # fmt: skip
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_PLUGINS": "tokengraph",  # it does nothing but in servers that are started with its loader
    "TOKENGRAPH_ADMIN_TOKEN": ADMIN,
    "TORCHDYNAMO_DISABLE": "1",  # compiling takes longer than all that these models compute
}
_SECONDS = 120


class Servers:
    """Starts servers; starting one, or several together, stops those before.

    Args:
        logs: the folder for the output of each.
    """

    def __init__(self, logs: Path) -> None:
        script = Path(__file__).with_name("forkserver.py")
        self._logs = logs
        self._forkserver = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=(logs / "forkserver.log").open("w"), env=os.environ | _ENVIRONMENT,
        )  # fmt: skip
        self._running: list[int] = []

    def start(self, model: Path, *arguments: str) -> str:
        """Waits until the server is ready; returns its base URL."""
        self.stop()
        return self._start(model, *arguments)

    def start_together(self, *models: Path) -> list[str]:
        """Servers of several models, side by side; their base URLs."""
        self.stop()
        return [self._start(model) for model in models]

    def start_beside(self, model: Path, *arguments: str) -> str:
        """A server beside those that run; its base URL."""
        return self._start(model, *arguments)

    def stop(self) -> None:
        leaders, self._running = self._running, []
        for leader in filter(_is_there, leaders):
            os.kill(leader, signal.SIGTERM)
        _until(lambda: not any(map(_is_there, leaders)))

    def _start(self, model: Path, *arguments: str) -> str:
        port, log = _free_port(), self._logs / f"{model.name}.log"
        line = json.dumps([str(log), "--model", str(model), "--port", str(port), *SETTINGS, *arguments])
        assert self._forkserver.stdin is not None and self._forkserver.stdout is not None
        self._forkserver.stdin.write(line + "\n")
        self._forkserver.stdin.flush()
        leader = int(self._forkserver.stdout.readline())
        self._running.append(leader)
        url = f"http://127.0.0.1:{port}"
        _until(lambda: _healthy(url) or not _is_there(leader))
        assert _healthy(url), log.read_text()[-5000:]
        return url

    def close(self) -> None:
        self.stop()
        assert self._forkserver.stdin is not None
        self._forkserver.stdin.close()
        self._forkserver.wait(timeout=30)


def running_requests(url: str) -> float:
    """What the server says about itself: requests that it is working on."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running"))


def _until(condition: object) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "the server took too long"
        time.sleep(0.05)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def _is_there(leader: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
