"""vLLM servers for measurements, started as ``tokengraph workers up`` starts them."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from experts.engines.config import VllmWorker
from experts.engines.vllm.engine import VllmEngine
from experts.workers.command import vllm_launch
from router.errors import EngineUnavailable
from router.evals.ports import free_port

_START_SECONDS = 600
_STOP_SECONDS = 60


@dataclass(frozen=True)
class Served:
    """A server of a worker."""

    worker: VllmWorker
    url: str
    key: str

    async def connect(self) -> VllmEngine:
        """An engine of the server."""
        return await VllmEngine.connect(self.worker, self.url, self.key, self.key)


@contextmanager
def serving(worker: VllmWorker, logs: Path, *, threads: int, dummy: bool = False) -> Iterator[Served]:
    """A server on the CPU, ended with the block.

    Args:
        logs: folder for its output.
        dummy: it draws its weights at random, which is faster than reading them.

    Raises:
        EngineUnavailable: it does not start.
    """
    key, port = secrets.token_hex(16), free_port()
    launch = vllm_launch("measured", worker, gpus=(), api_key=key, admin_token=key)
    argv = ["--load-format=dummy" if dummy and one.startswith("--load-format=") else one for one in launch.argv]
    environ = {**os.environ, **launch.environment, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    log = logs / f"{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen([*argv, f"--port={port}"], stdout=out, stderr=out, env=environ)  # noqa: S603
        try:
            url, until = f"http://127.0.0.1:{port}", time.monotonic() + _START_SECONDS
            while not _healthy(url):
                if process.poll() is not None or time.monotonic() > until:
                    said = log.read_text(errors="replace")[-2000:]
                    raise EngineUnavailable(f"expected a vLLM server of {worker.model}, found:\n{said}")
                time.sleep(0.2)
            yield Served(worker, url, key)
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False
