"""A token router inside a real vLLM server, and a pair on two, against the same models in this process."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from experts.engines.base import Capability
from experts.engines.config import LocalWorker, VllmWorker
from experts.engines.local.engine import LocalEngine
from experts.engines.requests import Defer, GenerateRequest, Generation, Message, Sampling
from experts.engines.vllm.engine import VllmEngine
from experts.errors import EngineError
from router.token_level.loop import Switching, TokenPair
from tests.experts.engines.checkpoints import save_adapter, save_checkpoint
from tests.experts.engines.conformance import ASK, EngineConformance, assert_same, chunks_of
from tests.experts.engines.vllm.servers import KEY, Servers
from tests.router.token_level.random_pairs import save_random_router

GREEDY = replace(ASK, sampling=Sampling(), max_tokens=40)
THRESHOLDS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.95, 1.1)


@dataclass(frozen=True)
class Pair:
    """Two random models on servers of their own; the small one's has an adapter, too."""

    small: Path
    large: Path
    router: Path
    adapter: Path
    small_url: str
    large_url: str

    def local(self) -> LocalEngine:
        return LocalEngine(LocalWorker(model=str(self.small), token_router=str(self.router)))

    async def served(self) -> VllmEngine:
        worker = VllmWorker(
            engine="vllm", model=str(self.small), token_router=str(self.router), adapters={"one": self.adapter}
        )
        return await VllmEngine.connect(worker, self.small_url, KEY)


PLUGIN = ("--load-format", "tokengraph", "--worker-extension-cls", "experts.vllm_plugin.worker.WorkerExtension")


def defer_arguments(router: Path) -> tuple[str, ...]:
    settings = json.dumps({"tokengraph": {"defer": {"router": str(router)}}})
    processor = "experts.vllm_plugin.defer_processor:DeferProcessor"
    return *PLUGIN, "--logits-processors", processor, "--additional-config", settings


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Pair:
    root = tmp_path_factory.mktemp("pair")
    small = save_checkpoint(root / "small", "qwen3", seed=3)
    large = save_checkpoint(root / "large", "qwen3", seed=4, hidden_size=64, num_hidden_layers=3)
    router = save_random_router(root / "router", small, large)
    save_adapter(small, root / "one", seed=5)
    lora = ("--enable-lora", "--max-lora-rank", "8", "--max-loras", "2", "--lora-modules", f"one={root / 'one'}")
    small_url = servers.start(small, *defer_arguments(router), *lora)
    return Pair(small, large, router, root / "one", small_url, servers.start_beside(large, *PLUGIN))


@pytest_asyncio.fixture
async def engine(pair: Pair) -> AsyncIterator[VllmEngine]:
    made = await pair.served()
    yield made
    await made.close()


@pytest_asyncio.fixture
async def local(pair: Pair) -> AsyncIterator[LocalEngine]:
    made = pair.local()
    yield made
    await made.close()


class TestDeferConformance(EngineConformance):
    @pytest.fixture
    def engine(self, engine: VllmEngine) -> VllmEngine:
        return engine


def ask(number: int, **changes: object) -> GenerateRequest:
    """Prompts of several lengths."""
    text = "".join(chr(97 + (number * 7 + at * at) % 26) for at in range(5 + 9 * number))
    return replace(GREEDY, messages=(Message("user", text),), **changes)  # type: ignore[arg-type]


def assert_scored(one: Generation, other: Generation) -> None:
    """The same answer with the same scores, but for rounding."""
    assert one.criticality == pytest.approx(other.criticality, abs=1e-4)
    assert_same(replace(one, criticality=()), replace(other, criticality=()), 1e-4)


@pytest.mark.asyncio
async def test_the_same_places_as_locally(engine: VllmEngine, local: LocalEngine) -> None:
    """Eight requests at once, each with a threshold of its own; every other one also wants to know its scores."""
    requests = [
        ask(number, defer=Defer(threshold, after=number % 3), criticality=number % 2 == 0, top_logprobs=number % 4)
        for number, threshold in enumerate(THRESHOLDS)
    ]
    expected = await asyncio.gather(*map(local.generate, requests))
    found = await asyncio.gather(*map(engine.generate, requests))
    for one, other in zip(found, expected, strict=True):
        assert_scored(one, other)
    assert {"defer", "length"} == {one.finish_reason for one in found}
    assert len({len(one.token_ids) for one in found}) > 3
    streamed = [(await chunks_of(engine, request))[-1].generation for request in requests]
    for one, again in zip(found, streamed, strict=True):
        assert again is not None
        assert_scored(again, one)


@pytest.mark.asyncio
async def test_defers_among_restricted_tokens(engine: VllmEngine, local: LocalEngine) -> None:
    digits = local.encode("0123456789")
    requests = [
        ask(2, defer=Defer(0.5, after=3), allowed_token_ids=digits, criticality=True),
        ask(3, defer=Defer(0.5, after=1), first_token_ids=digits, criticality=True),
        ask(3, defer=Defer(0.0), first_token_ids=digits, criticality=True),
        ask(4, defer=Defer(0.5), logit_bias={digits[0]: 100.0}, criticality=True),
    ]
    for request in requests:
        assert_scored(await engine.generate(request), await local.generate(request))


@pytest.mark.asyncio
async def test_defers_with_an_adapter(pair: Pair, engine: VllmEngine) -> None:
    worker = LocalWorker(model=str(pair.small), token_router=str(pair.router), adapters={"one": pair.adapter})
    local = LocalEngine(worker)
    requests = [ask(4, defer=Defer(0.7, after=2), criticality=True, adapter=name) for name in ("one", None)]
    expected = [await local.generate(request) for request in requests]
    for one, other in zip(await asyncio.gather(*map(engine.generate, requests)), expected, strict=True):
        assert_scored(one, other)
    assert expected[0].criticality != expected[1].criticality
    await local.close()


@pytest.mark.asyncio
async def test_a_pair_writes_the_same_as_locally(pair: Pair, engine: VllmEngine, local: LocalEngine) -> None:
    """Eight answers at once: the same tokens by the same authors."""
    local_large = LocalEngine(LocalWorker(model=str(pair.large)))
    large = await VllmEngine.connect(VllmWorker(engine="vllm", model=str(pair.large)), pair.large_url, KEY)
    settings = [
        Switching(threshold, max_large_share=(1.0, 0.4)[number % 2], large_run=1 + number % 3)
        for number, threshold in enumerate(THRESHOLDS)
    ]
    requests = [ask(number, criticality=True, max_tokens=100, ignore_eos=True) for number in range(len(settings))]
    answers = []
    for two in (TokenPair(local, local_large), TokenPair(engine, large)):
        works = (two.generate(request, setting) for request, setting in zip(requests, settings, strict=True))
        answers.append(await asyncio.gather(*works))
    for one, other in zip(*answers, strict=True):
        assert one.authors == other.authors
        assert one.generation.token_ids == other.generation.token_ids
        assert one.generation.logprobs == pytest.approx(other.generation.logprobs, abs=1e-4)
    assert len({one.large_share for one in answers[0]}) > 4
    await local_large.close()
    await large.close()


@pytest.mark.asyncio
async def test_another_router_is_refused(pair: Pair, tmp_path: Path) -> None:
    other = save_random_router(tmp_path / "other", pair.small, pair.large, seed=9)
    with pytest.raises(EngineError, match=r"other.*found another"):
        await VllmEngine.connect(
            VllmWorker(engine="vllm", model=str(pair.small), token_router=str(other)), pair.small_url, KEY
        )
    with pytest.raises(EngineError, match=r"router.*found none.*workers up"):
        await VllmEngine.connect(
            VllmWorker(engine="vllm", model=str(pair.large), token_router=str(other)), pair.large_url, KEY
        )


@pytest.mark.asyncio
async def test_without_a_router_nothing_defers(pair: Pair) -> None:
    engine = await VllmEngine.connect(VllmWorker(engine="vllm", model=str(pair.small)), pair.small_url, KEY)
    assert Capability.DEFER not in engine.capabilities
    await engine.close()


def post(pair: Pair, prompt: tuple[int, ...] = (20, 21, 22), **body: object) -> httpx.Response:
    """A request of another client."""
    settings = {"max_tokens": 8, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    body = settings | body | {"model": str(pair.small), "prompt": list(prompt)}
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{pair.small_url}/v1/completions", json=body, headers=headers, timeout=60)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"vllm_xargs": {"defer_threshold": "high"}}, r"defer_threshold.*finite number.*'high'"),
        ({"vllm_xargs": {"defer_threshold": -0.1}}, r"defer_threshold.*at least 0"),
        ({"vllm_xargs": {"defer_threshold": 0.5, "defer_after": 1.5}}, r"defer_after.*number of tokens.*1\.5"),
        ({"vllm_xargs": {"criticality": "a key"}}, r"criticality.*letters.*a key"),
        ({"vllm_xargs": {"criticality": "k"}, "n": 2, "temperature": 1.0}, "one answer"),
        ({"vllm_xargs": {"defer_threshold": 0.5}, "structured_outputs": {"regex": "a+"}}, "structured_outputs"),
        ({"vllm_xargs": {"session": "a name"}}, r"session.*letters.*a name"),
    ],
)
def test_wrong_arguments_are_refused(pair: Pair, body: dict[str, object], message: str) -> None:
    response = post(pair, **body)
    assert response.status_code == 400
    assert re.search(message, response.text), response.text


def test_other_clients_see_a_stop_token(pair: Pair) -> None:
    """The defer token is one that ends the request when the router says so, and neither of these else."""
    headers = {"Authorization": f"Bearer {KEY}"}
    about = httpx.get(f"{pair.small_url}/v1/tokengraph/defer", headers=headers).json()
    choice = post(pair, vllm_xargs={"defer_threshold": 0.0, "defer_after": 2}).json()["choices"][0]
    assert (len(choice["token_ids"]), choice["stop_reason"]) == (3, about["token"])
    assert choice["token_ids"][-1] == about["token"]
    whole = post(pair, prompt=(20, about["token"], 22)).json()["choices"][0]
    assert len(whole["token_ids"]) == 8
    forged = post(pair, prompt=(20, about["token"], 22), vllm_xargs={"tokengraph_defer": [0.0, 0]}).json()["choices"][0]
    assert forged["token_ids"] == whole["token_ids"]


def test_scores_are_there_once(pair: Pair) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    assert post(pair, vllm_xargs={"criticality": "mine"}).status_code == 200
    url = f"{pair.small_url}/v1/tokengraph/defer/scores/mine"
    assert len(httpx.delete(url, headers=headers).json()["scores"]) == 8
    assert httpx.delete(url, headers=headers).status_code == 404
    assert httpx.delete(url).status_code == 401
