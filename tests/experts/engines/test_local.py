from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from transformers import AutoModelForCausalLM

from experts.engines.config import LocalWorker
from experts.engines.local.engine import LocalEngine
from experts.engines.requests import GenerateRequest, Message, Sampling
from experts.errors import DeadlineExceeded, EngineError, EngineUnavailable, RequestError
from tests.experts.engines.checkpoints import KINDS
from tests.experts.engines.conformance import ASK, EngineConformance, assert_same

LONG = replace(ASK, max_tokens=200, sampling=Sampling())


def ask(text: str, **changes: object) -> GenerateRequest:
    return replace(ASK, messages=(Message("user", text),), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=KINDS)
def any_engine(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Iterator[LocalEngine]:
    engine = LocalEngine(LocalWorker(model=str(checkpoints[request.param])))
    yield engine
    asyncio.run(engine.close())


@pytest_asyncio.fixture
async def engine(checkpoints: dict[str, Path]) -> AsyncIterator[LocalEngine]:
    """Tests of one architecture; fresh, as some change the model."""
    made = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"])))
    yield made
    await made.close()


class TestLocalConformance(EngineConformance):
    @pytest.fixture
    def engine(self, any_engine: LocalEngine) -> LocalEngine:
        return any_engine


@pytest.mark.asyncio
async def test_greedy_equals_transformers(any_engine: LocalEngine) -> None:
    request = replace(LONG, max_tokens=25, top_logprobs=2)
    answer = await any_engine.generate(request)
    prompt = torch.tensor([any_engine.render(request)])
    model = AutoModelForCausalLM.from_pretrained(any_engine.info.model)
    expected = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=25, do_sample=False, eos_token_id=None
    )
    assert list(answer.token_ids) == expected[0, prompt.shape[1] :].tolist()
    with torch.inference_mode():  # log-probabilities from one pass without a cache
        logprobs = model(expected).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
    chosen = logprobs[torch.arange(25), torch.tensor(answer.token_ids)]
    assert answer.logprobs == pytest.approx(chosen.tolist(), abs=1e-5)
    assert [list(top) for top in answer.top_logprobs] == logprobs.topk(2).indices.tolist()


@pytest.mark.asyncio
async def test_a_deadline_that_passes_stops_what_runs_and_what_waits(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"]), max_batch=2))
    started = asyncio.Event()

    def slow(_model: Any, _input: Any) -> None:
        time.sleep(0.02)

    hook = await engine.call(lambda model: model.register_forward_pre_hook(slow))
    endless = replace(LONG, deadline=time.monotonic() + 0.5)

    async def streamed() -> int:
        pieces = 0
        try:
            async for _ in engine.stream(endless):
                pieces += 1
                started.set()
        except DeadlineExceeded:
            return pieces
        raise AssertionError("it ended in time")

    async def waiting() -> None:
        await started.wait()
        with pytest.raises(DeadlineExceeded, match="deadline"):
            await engine.generate(endless)

    async def whole() -> None:
        with pytest.raises(DeadlineExceeded, match="deadline"):
            await engine.generate(endless)

    pieces, *_ = await asyncio.gather(streamed(), whole(), waiting())
    assert 0 < pieces < LONG.max_tokens
    await engine.call(lambda _model: hook.remove())  # between batches: nothing runs any more
    assert time.monotonic() < endless.deadline + 2, "the whole answer takes four seconds"
    assert (await engine.generate(replace(LONG, deadline=time.monotonic() + 60))).finish_reason == "length"
    await engine.close()


@pytest.mark.asyncio
async def test_mixed_batch_equals_single_runs(any_engine: LocalEngine) -> None:
    whole = await any_engine.generate(ASK)
    digits = any_engine.encode("0123456789")
    requests = [
        ask("a", max_tokens=3),
        ask("something much longer than the others" * 3, sampling=Sampling(0.7, top_p=0.9, seed=3)),
        ask("first", first_token_ids=digits, max_tokens=1),
        ask("digits", allowed_token_ids=digits, top_logprobs=4),
        ask("end", ignore_eos=False, max_tokens=40),
        replace(ASK, stop=(whole.text[4:7],), max_tokens=50),
        replace(ASK, messages=(), prompt_ids=any_engine.encode("exact"), stop_token_ids=(whole.token_ids[2],)),
    ]
    alone = [await any_engine.generate(request) for request in requests]
    together = await asyncio.gather(*map(any_engine.generate, requests))
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)


@pytest.mark.asyncio
async def test_waiting_requests_share_forward_passes(engine: LocalEngine) -> None:
    passes = await engine.call(_count_passes)
    await asyncio.gather(*(engine.generate(ask("x" * n, max_tokens=5)) for n in range(1, 9)))
    assert len(passes) <= 2 * 5  # eight of them one after the other would take 40


@pytest.mark.asyncio
async def test_max_batch(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"]), max_batch=2))
    passes = await engine.call(_count_passes)
    await asyncio.gather(*(engine.generate(ask("x", max_tokens=2)) for _ in range(6)))
    assert max(passes) == 2
    await engine.close()


@pytest.mark.asyncio
async def test_seeds(engine: LocalEngine) -> None:
    def drawn(seed: int | None) -> GenerateRequest:
        return replace(ASK, max_tokens=30, sampling=Sampling(temperature=2.0, seed=seed))

    one, same, other, free, free_again = await asyncio.gather(*map(engine.generate, map(drawn, (1, 1, 2, None, None))))
    assert one.token_ids == same.token_ids
    assert len({one.token_ids, other.token_ids, free.token_ids, free_again.token_ids}) == 4


@pytest.mark.asyncio
async def test_tiny_nucleus_is_greedy(engine: LocalEngine) -> None:
    greedy = await engine.generate(replace(ASK, sampling=Sampling()))
    assert_same(greedy, await engine.generate(replace(ASK, sampling=Sampling(1.5, top_p=1e-9, seed=1))))


@pytest.mark.asyncio
async def test_answer_ends_with_the_context(engine: LocalEngine) -> None:
    prompt = engine.encode("x" * 250)
    answer = await engine.generate(replace(LONG, messages=(), prompt_ids=prompt))
    assert len(answer.token_ids) == engine.info.context_length - 250
    assert answer.finish_reason == "length"
    with pytest.raises(RequestError, match="shorter than the context of 256 tokens, found 300"):
        await engine.generate(replace(LONG, messages=(), prompt_ids=engine.encode("x" * 300)))


@pytest.mark.asyncio
async def test_own_end_token(engine: LocalEngine) -> None:
    end = engine.token_id("<|im_end|>")
    assert end is not None
    answer = await engine.generate(replace(ASK, allowed_token_ids=(end,), ignore_eos=False))
    assert (answer.token_ids, answer.text, answer.finish_reason, answer.stop_reason) == ((end,), "", "stop", None)
    assert answer.logprobs == (0.0,)
    longer = await engine.generate(replace(ASK, allowed_token_ids=(end,)))
    assert longer.token_ids == (end,) * ASK.max_tokens
    assert longer.text == ""


@pytest.mark.asyncio
async def test_cancelling_stops_the_generation(engine: LocalEngine) -> None:
    passes = await engine.call(_count_passes)
    task = asyncio.create_task(engine.generate(LONG))
    while not passes:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await engine.call(lambda model: len(passes)) < LONG.max_tokens


@pytest.mark.asyncio
async def test_closing_a_stream_stops_the_generation(engine: LocalEngine) -> None:
    passes = await engine.call(_count_passes)
    stream = engine.stream(LONG)
    first = await anext(stream)
    assert first.token_ids
    assert first.generation is None
    await stream.aclose()  # type: ignore[attr-defined]
    assert await engine.call(lambda model: len(passes)) < LONG.max_tokens


def test_one_engine_serves_several_event_loops(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"])))
    answers = [asyncio.run(engine.generate(ASK)) for _ in range(2)]
    assert_same(*answers)
    asyncio.run(engine.close())


@pytest.mark.asyncio
async def test_closed_engine(engine: LocalEngine) -> None:
    running = asyncio.create_task(engine.generate(LONG))
    await asyncio.sleep(0.01)
    await engine.close()
    await engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await running
    with pytest.raises(EngineUnavailable, match="closed"):
        await engine.generate(ASK)


@pytest.mark.asyncio
async def test_failure_reaches_everyone_who_waits(engine: LocalEngine) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    hook = await engine.call(lambda model: model.register_forward_pre_hook(broken))
    for outcome in await asyncio.gather(*(engine.generate(ASK) for _ in range(3)), return_exceptions=True):
        assert isinstance(outcome, EngineError)
        assert "out of memory" in str(outcome)
    with pytest.raises(EngineError, match="out of memory"):
        await anext(engine.stream(ASK))
    hook.remove()
    await engine.generate(ASK)


@pytest.mark.asyncio
async def test_hidden_states(any_engine: LocalEngine) -> None:
    requests = [ask("a"), ask("longer"), ask("a", forced_ids=any_engine.encode("b"))]
    states = await any_engine.hidden_states(requests)
    assert states.dtype == np.float32
    oracle = AutoModelForCausalLM.from_pretrained(any_engine.info.model)
    width = oracle.config.hidden_size
    assert states.shape == (3, width)
    for request, state in zip(requests, states, strict=True):
        with torch.inference_mode():
            output = oracle(torch.tensor([any_engine.render(request)]), output_hidden_states=True)
        np.testing.assert_allclose(state, output.hidden_states[-1][0, -1].numpy(), atol=1e-5)
    assert (await any_engine.hidden_states([])).shape == (0, width)


def _count_passes(model: Any) -> list[int]:
    """A list that grows by the batch size with every forward pass."""
    passes: list[int] = []
    model.register_forward_pre_hook(lambda _, args, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True)
    return passes
