"""Mixtures of experts on vLLM servers with masks, and the same models here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from experts.engines.config import VllmWorker
from experts.engines.local.checkpoint import fingerprint
from experts.engines.requests import GenerateRequest, TokenId
from experts.engines.vllm.engine import VllmEngine
from experts.moe.apply import ModelMasks
from tests.experts.engines.vllm.servers import ADMIN, KEY
from tests.experts.moe.models import masks, mixture, prompts

SLOTS = 8
ARGUMENTS = (
    "--enable-prompt-tokens-details", "--load-format", "tokengraph", "--worker-extension-cls", "experts.vllm_plugin.worker.WorkerExtension",
    "--additional-config", json.dumps({"tokengraph": {"masks": {"slots": SLOTS}}}),
)  # fmt: skip
# As where forward passes are recorded and replayed: then nothing may depend on what a batch holds.
RECORDED = ("--no-enforce-eager", '--compilation-config={"mode": 0}')


class Served:
    """A server, and the same model and masks here."""

    def __init__(self, architecture: str, folder: Path, url: str) -> None:
        self.architecture, self.folder, self.url = architecture, folder, url
        self.model = mixture(architecture)
        self.fingerprint = fingerprint(folder)
        self.local = ModelMasks(self.model, self.fingerprint)
        self.masks = masks(self.fingerprint)
        self.local.set(self.masks)
        headers = {"Authorization": f"Bearer {KEY}", "x-tokengraph-admin": ADMIN}
        self.http = httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=120)

    @property
    def worker(self) -> VllmWorker:
        """The server as a spec would name it."""
        return VllmWorker(engine="vllm", model=str(self.folder), url=self.url, api_key=KEY, admin_token=ADMIN)

    async def connect(self, admin_token: str | None = ADMIN) -> VllmEngine:
        """A client."""
        return await VllmEngine.connect(self.worker, self.url, KEY, admin_token)

    def prompts(self, count: int, longest: int, seed: int) -> list[tuple[int, ...]]:
        """Prompts on which the two agree without masks: vLLM's attention of DeepSeek-V3 on CPUs is another from the second
        token on."""
        rows = prompts(count, longest, seed)
        return [row[:1] for row in rows] if self.architecture == "deepseek_v3" else rows

    def expected(self, prompt: tuple[int, ...], answer: tuple[int, ...], name: str | None = None) -> list[float]:
        """The log-probabilities of an answer, computed here."""
        with self.local.applied([name]), torch.inference_mode():
            logprobs = self.model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        return [logprobs[len(prompt) + at - 1, token].item() for at, token in enumerate(answer)]

    def check(
        self, prompt: tuple[int, ...], name: str | None, answer: tuple[int, ...], logprobs: tuple[float, ...]
    ) -> None:
        """They are those of this model."""
        assert list(logprobs) == pytest.approx(self.expected(prompt, answer, name), abs=1e-5), name

    def put(self, one: Any, name: str | None = None) -> httpx.Response:
        """Registers a mask without a client."""
        return self.http.put(f"/tokengraph/masks/{name or one.name}", content=one.model_dump_json())

    def post(self, prompt: tuple[int, ...], name: str | None = None, **body: Any) -> httpx.Response:
        """A request without a client."""
        arguments = body.pop("vllm_xargs", {}) | ({} if name is None else {"expert_mask": name})
        settings = {"max_tokens": 1, "temperature": 0, "ignore_eos": True, "logprobs": 0, "return_token_ids": True}
        body = settings | body | {"model": str(self.folder), "prompt": list(prompt), "vllm_xargs": arguments}
        return self.http.post("/completions", json=body)

    def answered(self, response: httpx.Response) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """The tokens of its answer and their log-probabilities."""
        assert response.status_code == 200, response.text
        choice = response.json()["choices"][0]
        return tuple(choice["token_ids"]), tuple(choice["logprobs"]["token_logprobs"])


def ask(prompt: tuple[int, ...], name: str | None = None, length: int = 1) -> GenerateRequest:
    """A request of that length, whatever the model says."""
    return GenerateRequest(prompt_ids=tuple(map(TokenId, prompt)), expert_mask=name, max_tokens=length, ignore_eos=True)
