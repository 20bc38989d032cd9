"""Native calls with a real model: what it reads and writes, the same wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from experts.engines.base import Engine
from experts.engines.config import LocalWorker, VllmWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Generation, Message
from router.errors import GraphError
from router.tools import Registry, ToolCaller
from router.tools.answer import CalledAnswer
from router.tools.call import ToolResult
from router.tools.native.loop import NativeCaller
from router.tools.native.turns import schema_of
from tests.experts.engines.checkpoints import save_checkpoint
from tests.experts.engines.vllm.servers import KEY, Servers
from tests.router.tools.native.conftest import LEARNT, TOOLS, dialogue

REQUEST = GenerateRequest(max_tokens=160)


class Watched:
    """An engine that keeps what it is asked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.prompts: list[str] = []

    async def draw(self, request: GenerateRequest, write: Callable[[str], None] | None) -> Generation:
        self.prompts.append(self.engine.decode(self.engine.render(request)))
        return await self.engine.generate(request)


async def answers(engine: Engine) -> tuple[list[CalledAnswer], list[str]]:
    caller, watched = ToolCaller(Registry(TOOLS.values())), Watched(engine)
    native = NativeCaller(engine, dict.fromkeys(TOOLS, caller))
    try:
        found = [
            await native.answer(replace(REQUEST, messages=(Message("user", question),)), draw=watched.draw)
            for question in LEARNT
        ]
    finally:
        await caller.aclose()
    return found, watched.prompts


async def test_the_model_calls_reads_the_result_and_goes_on(checkpoint: Path) -> None:
    engine = await create_engine(LocalWorker(model=str(checkpoint)))
    found, prompts = await answers(engine)
    for answer, (question, calls) in zip(found, LEARNT.items(), strict=True):
        assert [(c.result.tool, c.result.arguments, c.result.text) for c in answer.calls] == list(calls), question
        assert answer.generation.text == f"It is {calls[-1][2]}."
        assert engine.decode(answer.generation.token_ids) == f"It is {calls[-1][2]}.<|im_end|>"
        assert len(answer.generation.logprobs) == len(answer.generation.token_ids)
        assert answer.spliced == len(calls[-1][2])
    asked = GenerateRequest(
        messages=tuple(dialogue("2 and 3?")), tools=tuple(schema_of(tool) for tool in TOOLS.values())
    )
    assert prompts[1] == engine.decode(engine.render(asked))
    await engine.close()


async def test_results_are_no_tokens(checkpoint: Path) -> None:
    engine = await create_engine(LocalWorker(model=str(checkpoint)))
    opening = engine.token_id("<tool_call>")
    said = "<tool_call><|im_end|>"
    harmless = engine.render(GenerateRequest(messages=tuple(dialogue("2 and 3?"))))
    messages = [replace(m, content=said) if m.role == "tool" else m for m in dialogue("2 and 3?")]
    prompt = engine.render(GenerateRequest(messages=tuple(messages)))
    for token in (opening, engine.token_id("<|im_end|>")):
        assert token is not None and prompt.count(token) == harmless.count(token)
    assert said in engine.decode(prompt)
    await engine.close()


async def test_a_long_result_takes_half_of_what_is_left(checkpoint: Path) -> None:
    engine = await create_engine(LocalWorker(model=str(checkpoint)))
    long = [replace(tool, max_output=4000) for tool in TOOLS.values()]
    caller, watched = ToolCaller(Registry(long)), Watched(engine)

    async def call(*_: object, **__: object) -> ToolResult:
        return ToolResult("add", {}, "5" * 4000, None, cut=False, seconds=0.0)

    caller.call = call  # type: ignore[method-assign, assignment]
    native = NativeCaller(engine, dict.fromkeys(TOOLS, caller), calls=1)
    answer = await native.answer(replace(REQUEST, messages=(Message("user", "2 and 3?"),)), draw=watched.draw)
    assert 100 < answer.spliced < engine.info.context_length / 2
    assert "5" * answer.spliced in watched.prompts[-1]
    await engine.close()


async def test_a_template_that_says_nothing_of_tools_is_refused(tmp_path: Path) -> None:
    engine = await create_engine(LocalWorker(model=str(save_checkpoint(tmp_path / "m", "qwen3"))))
    native = NativeCaller(engine, {"add": ToolCaller(Registry(TOOLS.values()))})
    with pytest.raises(GraphError, match="expected a chat template that tells"):
        await native.answer(replace(REQUEST, messages=(Message("user", "x"),)), draw=Watched(engine).draw)
    await engine.close()


async def test_the_same_answers_on_vllm(servers: Servers, checkpoint: Path) -> None:
    local = await create_engine(LocalWorker(model=str(checkpoint)))
    expected = await answers(local)
    await local.close()
    url = servers.start(checkpoint, "--max-model-len", "512")
    engine = await create_engine(VllmWorker(engine="vllm", model=str(checkpoint), url=url, api_key=KEY))
    found, prompts = await answers(engine)
    await engine.close()
    assert prompts == expected[1]
    assert [a.generation.token_ids for a in found] == [a.generation.token_ids for a in expected[0]]
    assert [[c.written for c in a.calls] for a in found] == [[c.written for c in a.calls] for a in expected[0]]
