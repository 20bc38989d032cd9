"""The contract, and agreement with the local engine, on real servers of all architectures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from experts.engines.config import LocalWorker, VllmWorker
from experts.engines.local.engine import LocalEngine
from experts.engines.requests import GenerateRequest, Message, Sampling
from experts.engines.vllm.engine import VllmEngine
from tests.experts.engines.checkpoints import KINDS
from tests.experts.engines.conformance import ASK, EngineConformance, assert_same, chunks_of
from tests.experts.engines.vllm.servers import KEY, Servers

TOLERANCE = 1e-4
GREEDY = replace(ASK, sampling=Sampling(), max_tokens=30)


class Server(NamedTuple):
    model: Path
    url: str


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, checkpoints: dict[str, Path], servers: Servers) -> Server:
    model = checkpoints[request.param]
    return Server(model, servers.start(model))


@pytest_asyncio.fixture
async def engine(server: Server) -> AsyncIterator[VllmEngine]:
    made = await VllmEngine.connect(VllmWorker(engine="vllm", model=str(server.model)), server.url, KEY)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def local(server: Server) -> AsyncIterator[LocalEngine]:
    made = LocalEngine(LocalWorker(model=str(server.model)))
    yield made
    await made.close()


class TestVllmConformance(EngineConformance):
    @pytest.fixture
    def engine(self, engine: VllmEngine) -> VllmEngine:
        return engine


def ask(text: str, **changes: object) -> GenerateRequest:
    return replace(GREEDY, messages=(Message("user", text),), **changes)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_agrees_with_local(engine: VllmEngine, local: LocalEngine) -> None:
    digits, letters = local.encode("0123456789"), local.encode("xyzq")
    whole = await local.generate(GREEDY)
    requests = [
        *(ask(text) for text in ("a", "What is 2 + 3?", "long " * 20)),
        ask("top", top_logprobs=5),
        ask("first", first_token_ids=digits, top_logprobs=3),
        ask("one", first_token_ids=digits[:1], max_tokens=1),
        ask("digits", allowed_token_ids=digits, top_logprobs=4),
        ask("both", first_token_ids=letters, allowed_token_ids=digits),
        ask("end", ignore_eos=False, max_tokens=60),
        replace(GREEDY, stop=(whole.text[10:13], "never in it"), top_logprobs=2),
        replace(GREEDY, messages=(), prompt_ids=local.encode("exact"), stop_token_ids=whole.token_ids[5:7]),
    ]
    for request in requests:
        expected = await local.generate(request)
        assert_same(await engine.generate(request), expected, TOLERANCE)
        streamed = (await chunks_of(engine, request))[-1].generation
        assert streamed is not None
        assert_same(streamed, expected, TOLERANCE)
    for one, other in zip(
        await asyncio.gather(*map(engine.generate, requests)), await asyncio.gather(*map(local.generate, requests)),
        strict=True,
    ):  # fmt: skip
        assert_same(one, other, TOLERANCE)


@pytest.mark.asyncio
async def test_same_facts_as_local(engine: VllmEngine, local: LocalEngine) -> None:
    assert engine.info == local.info
    assert [engine.token_id(token) for token in ("<node_0>", "<x>")] == [local.token_id("<node_0>"), None]
    assert engine.render(ASK) == local.render(ASK)


@pytest.mark.asyncio
async def test_answer_ends_with_the_context(engine: VllmEngine, local: LocalEngine) -> None:
    request = replace(GREEDY, messages=(), prompt_ids=local.encode("x" * 250))
    answer = await engine.generate(request)
    assert_same(answer, await local.generate(request), TOLERANCE)
    assert (len(answer.token_ids), answer.finish_reason) == (6, "length")
