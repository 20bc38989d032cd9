"""Decoding with a real model: the same transcript wherever it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from experts.engines.base import Engine
from experts.engines.config import LocalWorker, VllmWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from router.tools import Registry, ToolCaller
from router.tools.answer import CalledAnswer
from router.tools.tokens.build import tool_vocabulary
from router.tools.tokens.decode import CallableTool, CallLimits, ToolDecoder
from tests.experts.engines.vllm.servers import KEY, Servers
from tests.router.tools.tokens.conftest import Trained, examples

pytestmark = pytest.mark.asyncio

ASKED = [example.query for example in examples()][::6]


@asynccontextmanager
async def decoding(engine: Engine, trained: Trained, bias: float = 0.0) -> AsyncIterator[ToolDecoder]:
    caller = ToolCaller(Registry(trained.tools))
    vocabulary = await tool_vocabulary(engine, trained.tools, trained.folder)
    tools = {
        vocabulary.ids[tool.name]: CallableTool(
            tool, vocabulary.texts[tool.name], caller, vocabulary.biases[tool.name] + bias
        )
        for tool in trained.tools
    }
    try:
        yield ToolDecoder(engine, tools, banned=vocabulary.unoffered, limits=CallLimits(calls=3, argument_tokens=24))
    finally:
        await caller.aclose()
        await engine.close()


async def answers(engine: Engine, trained: Trained) -> list[CalledAnswer]:
    request = GenerateRequest(max_tokens=60)
    async with decoding(engine, trained) as decoder:
        return [
            await decoder.answer(replace(request, messages=(Message("user", text),)), draw=engine.generate)
            for text in ASKED
        ]


@pytest.fixture(scope="module")
def local(trained: Trained) -> list[CalledAnswer]:
    async def run() -> list[CalledAnswer]:
        return await answers(await create_engine(LocalWorker(model=str(trained.folder / "model"))), trained)

    return asyncio.run(run())


async def test_every_call_fits_its_signature_though_the_model_writes_noise(local: list[CalledAnswer]) -> None:
    calls = [call for answer in local for call in answer.calls]
    assert len(calls) >= len(ASKED) / 2
    written = [call for call in calls if call.written]
    assert written
    for call in written:
        assert call.result.arguments is not None, call.written
        assert len(call.written) <= 26


async def test_limits_hold(local: list[CalledAnswer]) -> None:
    assert all(len(answer.calls) <= 3 for answer in local)
    assert all(0 < answer.drawn <= 60 + 24 for answer in local)


async def test_an_answer_may_end_with_the_context_in_a_call(trained: Trained) -> None:
    engine = await create_engine(LocalWorker(model=str(trained.folder / "model")))
    asked = engine.render(GenerateRequest(messages=(Message("user", ASKED[0]),)))
    cut = 0
    async with decoding(engine, trained, bias=100.0) as decoder:  # a call at once
        for room in range(1, 12):
            before = engine.encode(" " * (engine.info.context_length - len(asked) - room))
            request = GenerateRequest(prompt_ids=before + asked, max_tokens=60)
            answer = await decoder.answer(request, draw=engine.generate)
            assert answer.generation.finish_reason == "length"
            assert len(answer.transcript) <= room + 1, "the bracket that opens a call may come after the last token"
            cut += not answer.calls
    assert cut >= 3


async def test_the_same_transcript_on_vllm(servers: Servers, local: list[CalledAnswer], trained: Trained) -> None:
    model = trained.folder / "model"
    url = servers.start(model, "--max-model-len", "256")
    engine = await create_engine(VllmWorker(engine="vllm", model=str(model), url=url, api_key=KEY))
    remote = await answers(engine, trained)
    assert [answer.transcript for answer in remote] == [answer.transcript for answer in local]
    assert [answer.generation.text for answer in remote] == [answer.generation.text for answer in local]
