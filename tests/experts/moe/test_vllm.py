"""Masks and scans on real vLLM servers through their client, against the same masks in transformers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio

from experts.engines.base import Capability
from experts.engines.requests import NO_MASK
from experts.engines.vllm.engine import VllmEngine
from experts.engines.vllm.everybody import clear_for_everybody, set_for_everybody
from experts.errors import CapabilityError, EngineError, MaskError, RequestError
from experts.moe.collect import scan_prompts
from router import Router, RunOptions
from router.runtime.query import Prompt
from router.types import NodeId
from tests.experts.engines.conformance import chunks_of
from tests.experts.engines.vllm.servers import Servers
from tests.experts.moe.models import ARCHITECTURES, mask, prompts, save
from tests.experts.moe.vllm_servers import ARGUMENTS, RECORDED, SLOTS, Served, ask
from tests.router.runtime.graphs import expert, spec


@pytest.fixture(scope="module", params=(*ARCHITECTURES, "qwen3_moe recorded"))
def served(request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Served:
    architecture, _, recorded = request.param.partition(" ")
    folder = save(tmp_path_factory.mktemp("models") / architecture, architecture)
    return Served(architecture, folder, servers.start(folder, *ARGUMENTS, *(RECORDED if recorded else ())))


@pytest_asyncio.fixture
async def engine(served: Served) -> AsyncIterator[VllmEngine]:
    made = await served.connect()
    await made.set_masks(served.masks)
    yield made
    await made.close()


only_one = pytest.mark.parametrize("served", ["qwen3_moe"], indirect=True)


async def test_the_server_says_what_masks_have_to_fit(served: Served, engine: VllmEngine) -> None:
    assert Capability.EXPERT_MASKS in engine.capabilities
    assert await engine.moe_shape() == served.local.shape


async def test_eight_requests_with_eight_masks_together(served: Served, engine: VllmEngine) -> None:
    """Every log-probability is that of the local model, and as if the request were alone."""
    names = [*served.masks, None]
    rows = served.prompts(len(names), 40, seed=3)
    length = 1 if served.architecture == "deepseek_v3" else 24
    requests = [ask(row, name, length) for row, name in zip(rows, names, strict=True)]
    together = await asyncio.gather(*map(engine.generate, requests))
    for row, name, request, found in zip(rows, names, requests, together, strict=True):
        served.check(row, name, found.token_ids, found.logprobs)
        alone = await engine.generate(request)
        assert alone.token_ids == found.token_ids
        assert alone.logprobs == pytest.approx(found.logprobs, abs=1e-5)
    # A mask that changes nothing would pass: with none the log-probabilities of these answers are others.
    for row, name, found in zip(rows[:-1], names[:-1], together[:-1], strict=True):
        assert np.abs(np.array(served.expected(row, found.token_ids)) - found.logprobs).max() > 1e-3, name


async def test_counts_of_a_scan(served: Served, engine: VllmEngine) -> None:
    rows = served.prompts(6, 50, seed=4)
    names = [None, None, None, *list(served.masks)[:3]]
    # A request may ask for more than one token, but only the prompt counts.
    found = await engine.activations([ask(row, name, 5) for row, name in zip(rows, names, strict=True)])
    for row, name, one in zip(rows, names, found, strict=True):
        with served.local.applied([name]):
            expected = scan_prompts(served.model, [row])[0]
        assert one.tokens == len(row)
        np.testing.assert_array_equal(one.counts, expected.counts)
        np.testing.assert_allclose(one.weights, expected.weights, atol=1e-4)


async def test_without_a_mask_all_is_bitwise_as_before(served: Served, engine: VllmEngine) -> None:
    prompt = prompts(1, 23, seed=5)[0]  # with its answer shorter than a block, so that nothing is cached
    before = await engine.generate(ask(prompt, length=8))
    assert await engine.generate(ask(prompt, length=8)) == before  # what two runs of the server give
    assert (await engine.generate(ask(prompt, "off", 8))).logprobs != before.logprobs
    assert await engine.generate(ask(prompt, length=8)) == before
    await engine.set_masks({})
    assert await engine.generate(ask(prompt, length=8)) == before
    with pytest.raises(RequestError, match=r"expert masks \(none\), found 'off'"):
        await engine.generate(ask(prompt, "off"))


@only_one
async def test_a_stream_is_masked_too(served: Served, engine: VllmEngine) -> None:
    request = ask(prompts(1, 30, seed=6)[0], "all-after", 12)
    whole = await engine.generate(request)
    chunks = await chunks_of(engine, request)
    assert chunks[-1].generation == whole
    assert len(chunks) > 1


@only_one
async def test_a_mask_that_the_server_has_lost_is_put_again(served: Served, engine: VllmEngine) -> None:
    """As after the server has started again."""
    request = ask(prompts(1, 30, seed=7)[0], "forced", 4)
    expected = await engine.generate(request)
    for digest in served.http.get("/tokengraph/masks").json()["masks"]:
        assert served.http.delete(f"/tokengraph/masks/{digest}").status_code == 200
    assert await engine.generate(request) == expected
    assert (await chunks_of(engine, request))[-1].generation == expected


@only_one
async def test_more_masks_than_slots(served: Served, engine: VllmEngine) -> None:
    """Those that were used longest ago make room, and come back when they are asked for."""
    made = {f"m{at}": mask(f"m{at}", fingerprint=served.fingerprint, l1={"off": [at]}) for at in range(SLOTS + 4)}
    await engine.set_masks(made)
    served.local.set(made)
    prompt = prompts(1, 20, seed=8)[0]
    for name in (*made, *made):
        found = await engine.generate(ask(prompt, name, 3))
        served.check(prompt, name, found.token_ids, found.logprobs)
    served.local.set(served.masks)


@only_one
async def test_clients_do_not_see_the_masks_of_others(served: Served, engine: VllmEngine) -> None:
    request = ask(prompts(1, 20, seed=9)[0], "off", 4)
    before = await engine.generate(request)
    other = await served.connect()
    await other.set_masks({"off": mask("off", fingerprint=served.fingerprint, l0={"force": [3]})})
    assert (await other.generate(request)).logprobs != before.logprobs
    assert await engine.generate(request) == before
    await other.close()


@only_one
async def test_a_mask_for_everybody(served: Served, engine: VllmEngine) -> None:
    """It holds for requests that name none, and not for scans; cleared, all is bitwise as before."""
    prompt = prompts(1, 23, seed=10)[0]
    before, scanned = await engine.generate(ask(prompt, length=4)), (await engine.activations([ask(prompt)]))[0]
    assert await set_for_everybody(served.worker, served.masks["off"]) == 1
    assert (await engine.generate(ask(prompt, length=4))) == (await engine.generate(ask(prompt, "off", 4))) != before
    forced = await engine.generate(ask(prompt, "forced", 4))
    served.check(prompt, "forced", forced.token_ids, forced.logprobs)
    unable = await served.connect(None)
    for client in (engine, unable):
        assert await client.generate(ask(prompt, NO_MASK, 4)) == before, "none, though everybody has one"
        assert (await chunks_of(client, ask(prompt, NO_MASK, 4)))[-1].generation == before
    await unable.close()
    graph = spec("a", {"w": served.worker.model_dump(mode="json")}, {"a": expert("w", max_tokens=4)})
    async with Router(graph) as router:
        asked = [
            router.arun(
                Prompt(token_ids=ask(prompt).prompt_ids), node=NodeId("a"), options=RunOptions(expert_mask=name)
            )
            for name in (NO_MASK, None)
        ]
        answers = [result.answer for result in await asyncio.gather(*asked)]
    ends = [replace(ask(prompt, name, 4), ignore_eos=False) for name in (NO_MASK, "off")]
    assert answers == [(await engine.generate(request)).text.strip() for request in ends]
    assert answers[0] != answers[1]
    np.testing.assert_array_equal((await engine.activations([ask(prompt)]))[0].counts, scanned.counts)
    assert await clear_for_everybody(served.worker) == ("off",)
    assert await clear_for_everybody(served.worker) == ()
    assert await engine.generate(ask(prompt, length=4)) == before
    assert served.http.delete("/tokengraph/masks/off").status_code == 200


@only_one
async def test_wrong_masks_replace_nothing(served: Served, engine: VllmEngine) -> None:
    for one, message in (
        (mask("bad", fingerprint="0" * 32), "fingerprint"),
        (mask("bad", fingerprint=served.fingerprint, l1={"off": [99]}), "experts 0 to 15"),
        (mask("bad", fingerprint=served.fingerprint, l1={"off": list(range(13))}), "at least 4 experts left"),
    ):
        with pytest.raises(MaskError, match=message):
            await engine.set_masks({"bad": one})
    await engine.generate(ask((7, 8), "off"))


@only_one
async def test_without_the_admin_token_there_are_no_masks(served: Served) -> None:
    engine = await served.connect(None)
    assert Capability.EXPERT_MASKS not in engine.capabilities
    for call in (engine.set_masks({}), engine.moe_shape(), engine.activations([ask((7, 8))])):
        with pytest.raises(CapabilityError, match="expert_masks"):
            await call
    await engine.close()
    with pytest.raises(EngineError, match="admin_token"):
        await served.connect("a guess")
    with pytest.raises(RequestError, match="fingerprint"):
        await set_for_everybody(served.worker, mask("bad", fingerprint="0" * 32))
