"""Masks in the local engine: per request, in one batch, and registered while it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from experts.engines.base import Capability
from experts.engines.config import LocalWorker, Rule, ScriptedWorker
from experts.engines.factory import create_engine
from experts.engines.local.engine import LocalEngine
from experts.engines.requests import NO_MASK, GenerateRequest, Generation, Sampling, TokenId
from experts.errors import CapabilityError, MaskError, RequestError
from experts.moe.mask import ExpertMask
from tests.experts.engines.checkpoints import save_checkpoint
from tests.experts.moe.models import mask, masks, prompts, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "qwen3_moe", "qwen3_moe")


@pytest_asyncio.fixture
async def engine(folder: Path) -> AsyncIterator[LocalEngine]:
    made = await create_engine(LocalWorker(model=str(folder)))
    assert isinstance(made, LocalEngine)
    await made.set_masks(masks(made.info.fingerprint))
    yield made
    await made.close()


def ask(row: int, name: str | None, *, tokens: int = 12, temperature: float = 0.0) -> GenerateRequest:
    """A prompt of a length of its own."""
    prompt = tuple(map(TokenId, prompts(row + 1, 25)[row]))
    sampling = Sampling(temperature=temperature, seed=row)
    return GenerateRequest(prompt_ids=prompt, max_tokens=tokens, ignore_eos=True, sampling=sampling, expert_mask=name)


def assert_same(one: Generation, other: Generation) -> None:
    assert one.token_ids == other.token_ids
    assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


async def test_each_request_of_a_batch_answers_as_alone(engine: LocalEngine) -> None:
    names = [*masks(), NO_MASK, None]
    # They end one after the other, so that rows leave the batch.
    asked = [ask(row, name, tokens=20 - 2 * row, temperature=float(row % 2)) for row, name in enumerate(names)]
    together = await asyncio.gather(*map(engine.generate, asked))
    for request, answer in zip(asked, together, strict=True):
        assert_same(answer, await engine.generate(request))
    plain = [await engine.generate(GenerateRequest(**{**vars(request), "expert_mask": None})) for request in asked[:-1]]
    assert_same(together[-2], plain.pop())
    for answer, other in zip(together[:-2], plain, strict=True):
        assert answer.logprobs != pytest.approx(other.logprobs, abs=1e-3)


async def test_hidden_states_have_the_masks_of_their_requests(engine: LocalEngine) -> None:
    asked = [ask(0, None), ask(1, "off"), ask(2, "dropped"), ask(1, None)]
    together = await engine.hidden_states(asked)
    alone = np.concatenate([await engine.hidden_states([request]) for request in asked])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together[1] - together[3]).max() > 1e-2


async def test_activations_of_prompts_under_their_masks(folder: Path) -> None:
    """In the order of the requests, whatever runs together."""
    engine = await create_engine(LocalWorker(model=str(folder), max_batch=3))
    await engine.set_masks(masks(engine.info.fingerprint))
    names = [None, "off", "dropped", None, "forced", "biased", "off"]
    asked = [ask(row, name) for row, name in enumerate(names)]
    found = await engine.activations(asked)
    for request, one in zip(asked, found, strict=True):
        (alone,) = await engine.activations([request])
        assert one.tokens == alone.tokens == len(engine.render(request))
        np.testing.assert_array_equal(one.counts, alone.counts)
        np.testing.assert_allclose(one.weights, alone.weights, atol=1e-4)
    assert found[1].counts[1][[0, 5, 9, 14]].sum() == 0, "what is off is not chosen"
    assert found[4].counts[1][6] == found[4].tokens, "what is forced always is"
    await engine.close()


async def test_clearing_all_masks_is_bitwise_as_before(folder: Path) -> None:
    engine = await create_engine(LocalWorker(model=str(folder)))
    before = await engine.generate(ask(0, None))
    await engine.set_masks(masks(engine.info.fingerprint))
    assert (await engine.generate(ask(0, "off"))).logprobs != before.logprobs
    assert await engine.generate(ask(0, None)) == before
    await engine.set_masks({})
    assert await engine.generate(ask(0, None)) == before
    with pytest.raises(RequestError, match=r"expert masks \(none\), found 'off'"):
        await engine.generate(ask(0, "off"))
    await engine.close()


async def test_requests_call_masks_by_the_names_they_are_registered_under(engine: LocalEngine) -> None:
    first = masks(engine.info.fingerprint)["off"]
    expected = await engine.generate(ask(0, "off"))
    await engine.set_masks({"alias": first})
    assert_same(await engine.generate(ask(0, "alias")), expected)


async def test_a_mask_that_does_not_fit_replaces_nothing(engine: LocalEngine) -> None:
    with pytest.raises(MaskError, match="experts 0 to 15"):
        await engine.set_masks({"bad": mask("bad", fingerprint=engine.info.fingerprint, l1={"off": [99]})})
    await engine.generate(ask(0, "off"))


async def test_a_job_whose_mask_is_gone_fails_alone(engine: LocalEngine) -> None:
    """Masks may be replaced between the check of a request and its batch."""
    replace = threading.Event()

    def replaced(_model: object) -> None:
        replace.wait()
        engine._masks.set({})

    replacing = asyncio.ensure_future(engine.call(replaced))
    asked = [asyncio.ensure_future(engine.generate(ask(row, name))) for row, name in enumerate(["off", None, "off"])]
    while len(engine._worker._waiting) < len(asked):
        await asyncio.sleep(0)
    replace.set()
    await replacing
    lost, answer, also_lost = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(lost, RequestError) and isinstance(also_lost, RequestError)
    assert isinstance(answer, Generation)
    assert_same(answer, await engine.generate(ask(1, None)))


async def test_shape(engine: LocalEngine) -> None:
    shape = await engine.moe_shape()
    assert shape.fingerprint == engine.info.fingerprint
    assert list(shape.layers) == [0, 1, 2]
    assert shape.experts == 48


async def test_engines_without_experts_refuse_masks(tmp_path: Path) -> None:
    dense = await create_engine(LocalWorker(model=str(save_checkpoint(tmp_path, "qwen3"))))
    scripted = await create_engine(ScriptedWorker(engine="scripted", rules=(Rule(answer="x"),)))
    for engine in (dense, scripted):
        assert Capability.EXPERT_MASKS not in engine.capabilities
        with pytest.raises(CapabilityError, match="expert_masks"):
            await engine.set_masks({"m": ExpertMask(name="m", fingerprint=engine.info.fingerprint)})
        with pytest.raises(CapabilityError, match="expert_masks"):
            await engine.moe_shape()
        with pytest.raises(CapabilityError, match="expert_masks"):
            await engine.activations([ask(0, None)])
        with pytest.raises(RequestError, match="expert masks"):
            await engine.generate(ask(0, "m"))
        await engine.close()
