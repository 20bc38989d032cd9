"""Token routers, sessions and joining batches in the local engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experts.engines.config import LocalWorker
from experts.engines.local.engine import LocalEngine
from experts.engines.requests import Defer, GenerateRequest, Message, Sampling, Session
from experts.errors import CheckpointError
from tests.experts.engines.checkpoints import save_adapter
from tests.experts.engines.conformance import ASK, EngineConformance, assert_same, chunks_of
from tests.router.token_level.random_pairs import save_random_router

GREEDY = replace(ASK, sampling=Sampling())


@pytest.fixture(scope="module", params=["qwen3", "llama", "gpt_oss"])
def any_engine(
    request: pytest.FixtureRequest, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalEngine]:
    """Plain torch, transformers, and sliding windows, whose keys and values cannot be taken up again."""
    model = checkpoints[request.param]
    router = save_random_router(tmp_path_factory.mktemp("router"), model, model)
    engine = LocalEngine(LocalWorker(model=str(model), token_router=str(router)))
    yield engine
    asyncio.run(engine.close())


class TestLocalDeferConformance(EngineConformance):
    @pytest.fixture
    def engine(self, any_engine: LocalEngine) -> LocalEngine:
        return any_engine


def ask(text: str, **changes: object) -> GenerateRequest:
    return replace(GREEDY, messages=(Message("user", text),), **changes)  # type: ignore[arg-type]


def fed(model: Any) -> list[tuple[int, int]]:
    """A list that grows by the rows and columns of every forward pass."""
    passes: list[tuple[int, int]] = []
    model.register_forward_pre_hook(
        lambda _, args, inputs: passes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    return passes


@pytest.mark.asyncio
async def test_deferring_and_others_in_one_batch(any_engine: LocalEngine) -> None:
    requests = [
        ask("a", defer=Defer(0.3), criticality=True),
        ask("not deferring", top_logprobs=2),
        ask("b" * 40, defer=Defer(0.6, after=2)),
        ask("scored", criticality=True, sampling=Sampling(1.0, seed=4)),
        ask("digits", allowed_token_ids=any_engine.encode("0123"), defer=Defer(0.9)),
    ]
    alone = [await any_engine.generate(request) for request in requests]
    for one, other in zip(alone, await asyncio.gather(*map(any_engine.generate, requests)), strict=True):
        assert one.criticality == pytest.approx(other.criticality, abs=1e-5)
        assert_same(replace(one, criticality=()), replace(other, criticality=()))


@pytest.mark.asyncio
async def test_sessions_of_many_lengths_go_on_together(any_engine: LocalEngine) -> None:
    """Some go on, some start anew, some change what was said: together they answer as each alone would."""
    prompts = [any_engine.encode("x" * 7 * number + "yz") for number in range(1, 7)]
    sessions = [Session() for _ in prompts]
    begin = replace(GREEDY, messages=(), max_tokens=4)
    firsts = await asyncio.gather(
        *(any_engine.generate(replace(begin, prompt_ids=p, session=s)) for p, s in zip(prompts, sessions, strict=True))
    )
    onward = [prompt + first.token_ids for prompt, first in zip(prompts, firsts, strict=True)]
    onward[1] = prompts[1] + any_engine.encode("changed")
    onward[2] += any_engine.encode("and much more, written by somebody else")
    onward[3] = prompts[3][:5]
    requests = [
        replace(begin, prompt_ids=ids, max_tokens=9, session=session if place != 4 else Session())
        for place, (ids, session) in enumerate(zip(onward, sessions, strict=True))
    ]
    together = await asyncio.gather(*map(any_engine.generate, requests))
    for request, answer in zip(requests, together, strict=True):
        assert_same(answer, await any_engine.generate(replace(request, session=None)))


@pytest.mark.asyncio
async def test_one_that_comes_later_joins(any_engine: LocalEngine) -> None:
    """The first is in the midst of its answer when the others come."""
    long, short = ask("long", max_tokens=60), ask("short one", max_tokens=5)
    drawn = ask("drawn", max_tokens=60, sampling=Sampling(1.0, seed=9))
    alone = [await any_engine.generate(request) for request in (long, drawn, short)]
    streams = [any_engine.stream(request) for request in (long, drawn)]
    begun = [[await anext(stream)] for stream in streams]
    joined = await any_engine.generate(short)
    for chunks, stream in zip(begun, streams, strict=True):
        chunks += [chunk async for chunk in stream]
    for expected, found in zip(alone, [begun[0][-1].generation, begun[1][-1].generation, joined], strict=True):
        assert found is not None
        assert_same(found, expected)


@pytest.mark.asyncio
async def test_a_short_one_does_not_wait_for_a_long_one(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"])))
    passes = await engine.call(fed)
    running = asyncio.create_task(chunks_of(engine, ask("long", max_tokens=220)))
    while not passes:
        await asyncio.sleep(0.001)
    await engine.generate(ask("short", max_tokens=3))
    assert not running.done()
    running.cancel()
    await engine.close()


@pytest.mark.asyncio
async def test_a_session_is_bounded_and_ends_with_its_last_user(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"]), cache_tokens=100))
    prompt = engine.encode("p" * 40)
    passes = await engine.call(fed)

    async def turn(session: Session, ids: tuple[int, ...]) -> int:
        """Tokens that the first pass of a turn was fed."""
        passes.clear()
        asked = replace(GREEDY, messages=(), prompt_ids=ids, max_tokens=2, session=session)  # type: ignore[arg-type]
        await engine.generate(asked)
        return passes[0][1]

    one, two, three = Session(), Session(), Session()
    for session in (one, two, three):
        assert await turn(session, prompt) == 40
    assert await turn(three, (*prompt, 7, 8)) == 2, "the first token of the answer was fed; this one differs"
    assert await turn(one, prompt) == 40, "its place was needed"
    assert len(engine._sessions) == 2
    del one, two, three, session
    assert len(engine._sessions) == 0
    await engine.close()


@pytest.mark.asyncio
async def test_keys_and_values_of_one_adapter_serve_no_other(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model = checkpoints["qwen3"]
    save_adapter(model, tmp_path / "a", seed=1)
    engine = LocalEngine(LocalWorker(model=str(model), adapters={"a": tmp_path / "a"}))
    session, prompt = Session(), engine.encode("some words to begin with")
    begin = replace(GREEDY, messages=(), prompt_ids=prompt, max_tokens=3)
    first = await engine.generate(replace(begin, session=session))
    onward = replace(begin, prompt_ids=prompt + first.token_ids, adapter="a", max_tokens=8)
    assert_same(await engine.generate(replace(onward, session=session)), await engine.generate(onward))
    await engine.close()


def test_a_router_of_another_model_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    router = save_random_router(tmp_path / "router", checkpoints["llama"], checkpoints["llama"])
    with pytest.raises(CheckpointError, match="small model with fingerprint"):
        LocalEngine(LocalWorker(model=str(checkpoints["qwen3"]), token_router=str(router)))
