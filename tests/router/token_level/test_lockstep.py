"""Training and measuring see the same tokens as a pair that serves: on random models, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from transformers import AutoModelForCausalLM

from experts.defer.files import load_router
from experts.engines.config import LocalWorker
from experts.engines.local.engine import LocalEngine
from router.token_level.large import Continuation, LocalLarge, ServedLarge, Text
from router.token_level.lockstep import Lockstep
from router.token_level.loop import Switching, TokenPair
from router.token_level.pair import running, running_here
from router.token_level.policies import Router
from router.token_level.problems import Problem
from router.token_level.teacher import teacher_force
from tests.experts.engines.checkpoints import save_checkpoint
from tests.router.token_level.random_pairs import save_random_router

LENGTH = 30
PROBLEMS = [Problem(text, None, "test") for text in ("hi", "what is 2+2?", "a much longer question, please", "why")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("pair")
    small = save_checkpoint(root / "small", "qwen3", seed=1)
    large = save_checkpoint(root / "large", "llama", seed=2, hidden_size=64, num_hidden_layers=3)
    return small, large, save_random_router(root / "router", small, large)


@pytest_asyncio.fixture
async def engines(folders: tuple[Path, Path, Path]) -> AsyncIterator[tuple[LocalEngine, LocalEngine]]:
    async with AsyncExitStack() as stack:
        small, large = [
            await stack.enter_async_context(running_here(LocalWorker(model=str(folder)), None))
            for folder in folders[:2]
        ]
        yield small, large


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.1])
async def test_it_writes_what_a_served_pair_writes(
    folders: tuple[Path, Path, Path], engines: tuple[LocalEngine, LocalEngine], threshold: float
) -> None:
    small, large = engines
    network, _ = load_router(folders[2])
    answers = await Lockstep(small, large, LENGTH, batch=3).run(PROBLEMS, Router(network), threshold)
    defers = LocalWorker(model=str(folders[0]), token_router=str(folders[2]))
    async with running(defers) as writer:
        pair = TokenPair(writer, large)
        served = await asyncio.gather(
            *(pair.generate(problem.request(None, LENGTH), Switching(threshold)) for problem in PROBLEMS)
        )
    for answer, found in zip(answers, served, strict=True):
        assert tuple(answer.tokens) == found.generation.token_ids
        assert answer.by_large == [author == "large" for author in found.authors]


async def test_the_small_model_is_read_as_it_is(
    folders: tuple[Path, Path, Path], engines: tuple[LocalEngine, LocalEngine]
) -> None:
    texts = [(tuple(range(10, 10 + n)), tuple(range(40, 40 + m))) for n, m in ((3, 5), (9, 1), (4, 12))]
    forced = await engines[0].call(lambda model: teacher_force(model, texts, tokens_a_batch=24))
    plain = AutoModelForCausalLM.from_pretrained(folders[0])
    for (prompt, response), read in zip(texts, forced, strict=True):
        assert len(read.proposal) == len(response)
        with torch.inference_mode():
            found = plain(torch.tensor([[*prompt, *response]]), output_hidden_states=True)
        logits = found.logits[0, len(prompt) - 1 : -1]
        torch.testing.assert_close(read.hidden, found.hidden_states[-1][0, len(prompt) - 1 : -1], atol=1e-4, rtol=1e-4)
        assert torch.equal(read.proposal, logits.argmax(-1))
        torch.testing.assert_close(read.logits, logits.topk(100).values, atol=1e-4, rtol=1e-4)


async def test_in_this_process_the_large_model_writes_the_same_only_faster(
    engines: tuple[LocalEngine, LocalEngine],
) -> None:
    large = engines[1]
    prompts = [large.render(problem.request(None, LENGTH)) for problem in PROBLEMS]
    how = Continuation(max_tokens=LENGTH)
    fast, plain = LocalLarge(large, batch=3), ServedLarge(large)
    texts = [Text(prompt, LENGTH) for prompt in prompts]
    written, expected = await fast.respond(texts), await plain.respond(texts)
    assert [one.tokens for one in written] == [one.tokens for one in expected]
    assert [one.cut for one in written] == [one.cut for one in expected]
    branches = [
        Text((*prompt, *one.tokens[:at], 50 + at), room, one.past)
        for prompt, one in zip(prompts, written, strict=True)
        for at, room in ((0, 9), (5, 20), (len(one.tokens) - 1, 1), (3, 0))
    ]
    found, again = await fast.go_on(branches, how), await plain.go_on(branches, how)
    assert [one.tokens for one in found] == [one.tokens for one in again]
    assert all(len(one.tokens) <= text.room for one, text in zip(found, branches, strict=True))
