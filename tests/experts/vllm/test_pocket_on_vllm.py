"""An unmodified vLLM (CPU build) serves the bundled master: same choices, same calls as the local engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from experts.pocket import resolve

QUERIES = ["what's 347 plus 589?", "write 1984 in roman numerals", "is it cold in march?", "spell lemon backwards"]


async def test_same_choices_and_calls(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM's CPU build is installed by `make test`")
    folder = resolve("master")
    tokens = json.loads((folder / "functional_tokens.json").read_text())
    local = await create_engine(LocalWorker(engine="local", model="pocket:master"))
    names = [*tokens["tokens"].values(), tokens["abstain"]]
    ids = tuple(local.token_id(name) for name in names)
    end = local.token_id(tokens["end"])
    requests = [
        GenerateRequest(messages=(Message("user", q),), first_token_ids=ids, stop_token_ids=(end,), max_tokens=65)
        for q in QUERIES
    ]
    out = tmp_path / "out.json"
    request = {
        "model": str(folder),
        "prompts": [local.render(r) for r in requests],
        "tokens": ids,
        "end": end,
        "out": str(out),
    }
    environment = os.environ | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "HF_HUB_OFFLINE": "1",
    }
    script = Path(__file__).with_name("serve_once.py")
    done = subprocess.run(
        [sys.executable, str(script)], input=json.dumps(request), text=True, env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for request_, served in zip(requests, json.loads(out.read_text()), strict=True):
        generation = await local.generate(request_)
        for token, logprob in generation.first_logprobs.items():
            assert served["choice"][str(token)] == pytest.approx(logprob, abs=1e-4)
        assert tuple(served["call"]) == generation.token_ids[1:]
    await local.close()
