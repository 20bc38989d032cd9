"""The plugin in a real vLLM server: same answers, a secret of its own, and no untested versions."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import httpx
import pytest

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from experts.errors import EngineError
from experts.pocket import resolve
from experts.vllm_plugin.instrument import install_all
from experts.vllm_plugin.versions import check_version

KEY, ADMIN = "inference-key", "admin-token"


@pytest.mark.parametrize("version", ["0.32.0", "0.32.1", "0.32.0+cpu"])
def test_tested_versions(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "1.0", "dev"])
def test_untested_versions_are_refused(version: str) -> None:
    with pytest.raises(EngineError, match=rf"0\.32.*{version}"):
        check_version(version)


def test_unknown_instruments_are_refused() -> None:
    with pytest.raises(EngineError, match="theremin"):
        install_all(object(), None, {"theremin": {}})


def test_vllm_finds_the_plugin() -> None:
    for group in ("vllm.general_plugins", "vllm.endpoint_plugins"):
        assert "tokengraph" in {point.name for point in entry_points(group=group)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("vllm", reason="vLLM's CPU build is installed by `make test`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(resolve("arithmetic")),
        "--served-model-name", "arithmetic", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
        "--enforce-eager", "--max-num-seqs", "4", "--kv-cache-memory-bytes", str(32 << 20), "--block-size", "32",
        "--distributed-executor-backend", "uni", "--load-format", "tokengraph",
        "--worker-extension-cls", "experts.vllm_plugin.worker.WorkerExtension",
        "--additional-config", json.dumps({"tokengraph": {}}),
    ]  # fmt: skip
    environment = os.environ | {
        "VLLM_PLUGINS": "tokengraph", "VLLM_API_KEY": KEY, "TOKENGRAPH_ADMIN_TOKEN": ADMIN, "HF_HUB_OFFLINE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }  # fmt: skip
    log = tmp_path_factory.mktemp("plugin") / "server.log"
    with log.open("w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait(url, process, log)
            yield url
        finally:
            process.terminate()


def wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.4)
    raise AssertionError(log.read_text()[-3000:])


def test_the_admin_token_is_not_the_key(server: str) -> None:
    key, admin = {"Authorization": f"Bearer {KEY}"}, {"x-tokengraph-admin": ADMIN}
    route = f"{server}/v1/tokengraph"
    assert httpx.get(route).status_code == 401
    assert httpx.get(route, headers=admin).status_code == 401
    assert httpx.get(route, headers=key).status_code == 403
    assert httpx.get(route, headers=key | {"x-tokengraph-admin": "guess"}).status_code == 403
    found = httpx.get(route, headers=key | admin)
    assert found.status_code == 200
    assert found.json()["instruments"] == {}
    check_version(found.json()["vllm"])


async def test_an_instrumented_model_answers_as_before(server: str) -> None:
    local = await create_engine(LocalWorker(model="pocket:arithmetic"))
    request = GenerateRequest(messages=(Message("user", "347+589"),), max_tokens=40)
    expected = await local.generate(request)
    body = {"model": "arithmetic", "prompt": list(local.render(request)), "max_tokens": 40, "temperature": 0,
            "logprobs": 0, "return_token_ids": True}  # fmt: skip
    answer = httpx.post(f"{server}/v1/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    choice = answer.json()["choices"][0]
    assert tuple(choice["token_ids"]) == expected.token_ids
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(expected.logprobs, abs=1e-4)
    await local.close()
