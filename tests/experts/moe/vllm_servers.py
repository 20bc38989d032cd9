"""vLLM servers with masks, one at a time."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.experts.engines.vllm.servers import KEY, Servers

ADMIN = "an admin token of the tests"
ARGUMENTS = (
    "--enable-prompt-tokens-details", "--load-format", "tokengraph", "--worker-extension-cls", "experts.vllm_plugin.worker.WorkerExtension",
    "--additional-config", json.dumps({"tokengraph": {"masks": {"slots": 8}}}),
)  # fmt: skip


def forkserver(logs: Path) -> Servers:
    """What starts them; the environment is that of its start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_PLUGINS", "tokengraph")
        patch.setenv("TOKENGRAPH_ADMIN_TOKEN", ADMIN)
        return Servers(logs)


def client(url: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {KEY}", "x-tokengraph-admin": ADMIN}
    return httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=120)
