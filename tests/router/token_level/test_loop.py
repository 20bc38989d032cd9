"""The loop of a pair, on real models in this process."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from experts.engines.base import Engine
from experts.engines.config import LocalWorker
from experts.engines.local.engine import LocalEngine
from experts.engines.requests import NO_MASK, GenerateRequest, Generation, Message, Sampling, TokenId
from experts.errors import CapabilityError, DeadlineExceeded, EngineUnavailable, RequestError
from router.errors import GraphError
from router.token_level.loop import Switching, TokenPair
from router.token_level.writing import PairGeneration
from tests.experts.engines.checkpoints import save_checkpoint
from tests.router.token_level.random_pairs import save_random_router
from tests.router.token_level.reference import Reference

LENGTH = 40
THRESHOLDS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.95, 1.1)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    root = tmp_path_factory.mktemp("pair")
    small = save_checkpoint(root / "small", "qwen3", seed=1)
    large = save_checkpoint(root / "large", "qwen3", seed=2, hidden_size=64, num_hidden_layers=3)
    return Reference(small, large, save_random_router(root / "router", small, large))


@pytest_asyncio.fixture
async def pair(reference: Reference) -> AsyncIterator[TokenPair]:
    small = LocalEngine(LocalWorker(model=str(reference.small), token_router=str(reference.router)))
    large = LocalEngine(LocalWorker(model=str(reference.large)))
    yield TokenPair(small, large)
    await small.close()
    await large.close()


def ask(text: str, **changes: object) -> GenerateRequest:
    asked = GenerateRequest(
        messages=(Message("user", text),), max_tokens=LENGTH, ignore_eos=True, criticality=True, top_logprobs=2
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


def assert_written(found: PairGeneration, expected: tuple[list[int], list[str], list[float | None]]) -> None:
    tokens, authors, scores = expected
    assert list(found.authors) == authors
    assert list(found.generation.token_ids) == tokens
    assert [score is None for score in found.scores] == [score is None for score in scores]
    assert [s for s in found.scores if s is not None] == pytest.approx([s for s in scores if s is not None], abs=1e-5)
    assert len(found.generation.logprobs) == len(found.generation.top_logprobs) == len(tokens)
    assert found.switches == sum(a == "large" and s is not None for a, s in zip(authors, scores, strict=True))


@pytest.mark.asyncio
async def test_eight_at_once_equal_the_reference(pair: TokenPair, reference: Reference) -> None:
    texts = ["x" * number + " and more" * (number % 3) for number in range(1, 9)]
    runs = (1, 1, 2, 3, 1, 4, 1, 1)
    settings = [Switching(threshold, large_run=run) for threshold, run in zip(THRESHOLDS, runs, strict=True)]
    found = await asyncio.gather(*(pair.generate(ask(text), s) for text, s in zip(texts, settings, strict=True)))
    for text, setting, answer in zip(texts, settings, found, strict=True):
        prompt = pair.small.render(ask(text))
        assert_written(answer, reference.write(prompt, LENGTH, setting.threshold, run=setting.large_run))
    shares = [answer.large_share for answer in found]
    assert shares[0] == 1.0 and shares[-1] == 0.0 and len({*shares}) >= 5


@pytest.mark.asyncio
async def test_turns_feed_only_what_is_new(pair: TokenPair) -> None:
    fed: dict[str, list[int]] = {"small": [], "large": []}

    def count(name: str, model: Any) -> None:
        def hook(_: Any, __: Any, inputs: dict[str, Any]) -> None:
            fed[name].append(inputs["input_ids"].numel())

        model.register_forward_pre_hook(hook, with_kwargs=True)

    await cast(LocalEngine, pair.small).call(lambda model: count("small", model))
    await cast(LocalEngine, pair.large).call(lambda model: count("large", model))
    asked = ask("a question that is not short")
    found = await pair.generate(asked, Switching(0.5))
    prompt = len(pair.small.render(asked))
    assert found.switches > 3
    last = max(place for place, author in enumerate(found.authors) if author == "large")
    assert sum(fed["large"]) == prompt + last, "the prompt, and every token before its last one, once each"
    assert prompt + LENGTH - 2 <= sum(fed["small"]) <= prompt + LENGTH


@pytest.mark.asyncio
async def test_keys_and_values_go_with_the_answer(pair: TokenPair) -> None:
    await pair.generate(ask("one"), Switching(0.5))
    for engine in (pair.small, pair.large):
        sessions = cast(LocalEngine, engine)._sessions
        gc.collect()
        assert len(sessions) == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("share", [0.0, 0.1, 0.29, 0.5])
async def test_the_share_is_never_exceeded(pair: TokenPair, reference: Reference, share: float) -> None:
    asked = ask("a question")
    found = await pair.generate(asked, Switching(0.2, max_large_share=share, large_run=2))
    for length in range(1, LENGTH + 1):
        assert found.authors[:length].count("large") / length <= share
    if share == 0.1:
        expected = reference.write(pair.small.render(asked), LENGTH, 0.2, share=share)
        assert_written(await pair.generate(asked, Switching(0.2, max_large_share=share)), expected)
    assert found.large_share <= share and (found.large_tokens > 0) == (share > 0)


@pytest.mark.asyncio
async def test_streams_add_up_to_the_same(pair: TokenPair) -> None:
    asked, switching = ask("stream this"), Switching(0.5, large_run=2)
    whole = await pair.generate(asked, switching)
    chunks = [chunk async for chunk in pair.stream(asked, switching)]
    assert [chunk.result is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert "".join(chunk.text for chunk in chunks) == whole.generation.text
    assert len(chunks) > LENGTH / 2
    result = chunks[-1].result
    assert result is not None
    assert (result.generation.token_ids, result.authors) == (whole.generation.token_ids, whole.authors)


@pytest.mark.asyncio
async def test_draws_are_repeatable_and_no_turn_repeats_random_numbers(pair: TokenPair) -> None:
    def drawn(seed: int | None, threshold: float = 0.5) -> GenerateRequest:
        return ask("draw", sampling=Sampling(temperature=1.5, top_p=0.9, seed=seed), max_tokens=LENGTH)

    requests = [drawn(1), drawn(1), drawn(2), drawn(None), drawn(None)]
    found = await asyncio.gather(*(pair.generate(request, Switching(0.5)) for request in requests))
    ids = [answer.generation.token_ids for answer in found]
    assert ids[0] == ids[1]
    assert len({*ids}) == 4
    # The large model draws each of these tokens in a turn of its own, from almost the same flat distribution.
    flat = await pair.generate(
        ask("draw", sampling=Sampling(temperature=1e6, seed=3), criticality=False), Switching(0.0)
    )
    assert len({*flat.generation.token_ids}) > LENGTH / 3


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stop_text_that_two_models_write(pair: TokenPair, streamed: bool) -> None:
    switching = Switching(0.5)
    asked = ask("stop me")
    whole = await pair.generate(asked, switching)
    texts = [pair.small.decode((token,), plain=True) for token in whole.generation.token_ids]
    place = next(i for i in range(5, LENGTH) if whole.authors[i - 1 : i + 1] == ("small", "large"))
    stop = "".join(texts[place - 1 : place + 2])
    end = whole.generation.text.index(stop)
    stopping = replace(asked, stop=("never in it", stop))
    if streamed:
        chunks = [chunk async for chunk in pair.stream(stopping, switching)]
        found, text = chunks[-1].result, "".join(chunk.text for chunk in chunks)
    else:
        found, text = await pair.generate(stopping, switching), whole.generation.text[:end]
    assert found is not None
    generation = found.generation
    assert text == generation.text == whole.generation.text[:end]
    assert (generation.finish_reason, generation.stop_reason) == ("stop", stop)
    taken = len(generation.token_ids)
    assert generation.token_ids == whole.generation.token_ids[:taken]
    assert "".join(texts[:taken]).endswith(stop)
    assert len(generation.logprobs) == len(found.authors) == len(found.scores) == taken


@pytest.mark.asyncio
@pytest.mark.parametrize("threshold", [0.0, 1.1])
async def test_end_tokens_of_either_model_end_it(pair: TokenPair, threshold: float) -> None:
    """With threshold 0 the large model writes all, with 1.1 the small one."""
    asked, switching = ask("end"), Switching(threshold)
    whole = await pair.generate(asked, switching)
    end = whole.generation.token_ids[4]
    other = pair.small if threshold == 0.0 else pair.large
    ended = TokenPair(pair.small, pair.large)
    also_ends = WithEnd(other, end)
    ended.small, ended.large = (also_ends, pair.large) if other is pair.small else (pair.small, also_ends)  # type: ignore[assignment]
    found = (await ended.generate(replace(asked, ignore_eos=False), switching)).generation
    assert found.token_ids == whole.generation.token_ids[: whole.generation.token_ids.index(end) + 1]
    assert (found.finish_reason, found.stop_reason) == ("stop", None)
    assert whole.generation.text.startswith(found.text) and pair.small.decode((end,)) not in found.text
    asked = replace(asked, stop_token_ids=(end,))
    found = (await pair.generate(asked, switching)).generation
    assert (found.finish_reason, found.stop_reason) == ("stop", end)


class WithEnd:
    """An engine that names one more token as its end."""

    def __init__(self, engine: Engine, end: TokenId) -> None:
        self._engine, self.info = engine, replace(engine.info, end_ids=(*engine.info.end_ids, end))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.asyncio
async def test_an_answer_ends_with_the_shorter_context(pair: TokenPair) -> None:
    prompt = pair.small.encode("x" * 250)
    asked = ask("", messages=(), prompt_ids=prompt, max_tokens=100)
    found = (await pair.generate(asked, Switching(0.5))).generation
    assert (len(found.token_ids), found.finish_reason) == (pair.small.info.context_length - 250, "length")
    with pytest.raises(RequestError, match="shorter than the context"):
        await pair.generate(replace(asked, prompt_ids=prompt * 2), Switching(0.5))


@pytest.mark.asyncio
async def test_cancelling_ends_both(pair: TokenPair) -> None:
    async with aclosing(pair.stream(ask("cancel", max_tokens=200), Switching(0.5))) as chunks:  # type: ignore[type-var]
        await anext(chunks)
    task = asyncio.create_task(pair.generate(ask("cancel", max_tokens=200), Switching(0.5)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await pair.generate(ask("goes on", max_tokens=2), Switching(0.5))


@pytest.mark.asyncio
async def test_both_are_asked_without_masks_of_experts_if_that_is_asked_for(reference: Reference) -> None:
    heard: list[str | None] = []

    class Listening(LocalEngine):
        async def generate(self, request: GenerateRequest) -> Generation:
            heard.append(request.expert_mask)
            return await super().generate(request)

    small = Listening(LocalWorker(model=str(reference.small), token_router=str(reference.router)))
    large = Listening(LocalWorker(model=str(reference.large)))
    pair = TokenPair(small, large)
    plain = await pair.generate(ask("mask"), Switching(0.5))
    assert 0 < plain.large_tokens < len(plain.generation.token_ids) and {*heard} == {None}
    heard.clear()
    assert await pair.generate(ask("mask", expert_mask=NO_MASK), Switching(0.5)) == plain
    assert {*heard} == {NO_MASK}
    await asyncio.gather(small.close(), large.close())


@pytest.mark.asyncio
async def test_what_cannot_be_done_is_refused(pair: TokenPair, reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        await pair.generate(ask("late", deadline=time.monotonic()), Switching(0.5))
    with pytest.raises(RequestError, match="without adapter"):
        await pair.generate(ask("x", adapter="a"), Switching(0.5))
    with pytest.raises(CapabilityError, match="defer"):
        TokenPair(pair.large, pair.small)
    shifted = save_checkpoint(tmp_path / "shifted", "qwen3")
    text = (shifted / "tokenizer.json").read_text()
    (shifted / "tokenizer.json").write_text(text.replace('"b": 17', '"b": 18').replace('"c": 18', '"c": 17'))
    other = LocalEngine(LocalWorker(model=str(shifted)))
    with pytest.raises(GraphError, match="found that id 17 is 'b' in the first and 'c' in the second"):
        TokenPair(pair.small, other)
    await other.close()


@pytest.mark.asyncio
async def test_a_large_model_that_dies_is_an_error(pair: TokenPair) -> None:
    await pair.large.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await pair.generate(ask("x"), Switching(0.0))
    assert (await pair.generate(ask("x"), Switching(1.1))).large_tokens == 0, "it was not needed"
