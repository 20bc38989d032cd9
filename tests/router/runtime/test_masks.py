"""Masks of experts in runs: of the node, of the run, by name and by file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from experts.engines.requests import GenerateRequest, Message
from experts.moe.mask import ExpertMask, LayerMask
from router import Router
from router.errors import CapabilityError, MaskError, RequestError
from router.runtime.masks import EngineMasks, mask_files
from router.runtime.router import RunOptions
from router.trace import Answered
from router.types import NodeId, WorkerId
from tests.router.mixtures import load, mixture_graph
from tests.router.runtime.graphs import expert, says, spec

MASKED, PLAIN, MOE = NodeId("masked"), NodeId("plain"), WorkerId("moe")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture_graph(tmp_path_factory.mktemp("mixture"))


@pytest_asyncio.fixture
async def router(graph: Path) -> AsyncIterator[Router]:
    async with Router.from_file(graph) as made:
        yield made


async def answer(router: Router, node: NodeId, asked: str | ExpertMask | None = None) -> tuple[str, str | None]:
    """What a node says, and with which mask."""
    result = await router.arun("what is 2 + 3?", node=node, options=RunOptions(expert_mask=asked))
    event = result.events[-1]
    assert isinstance(event, Answered)
    return result.answer, event.expert_mask


async def test_a_node_answers_with_its_mask_unless_the_run_asks_for_another(graph: Path, router: Router) -> None:
    engine = await router.engine(MOE)
    own, forced = load(graph.parent, "off"), load(graph.parent, "forced")
    plain, _ = await answer(router, PLAIN)
    expected = {}
    async with EngineMasks(engine).use(own) as name:
        request = GenerateRequest(messages=(Message("user", "what is 2 + 3?"),), max_tokens=8, expert_mask=name)
        expected["off"] = (await engine.generate(request)).text.strip()
    async with EngineMasks(engine).use(forced) as name:
        request = GenerateRequest(messages=(Message("user", "what is 2 + 3?"),), max_tokens=8, expert_mask=name)
        expected["forced"] = (await engine.generate(request)).text.strip()
    assert len({plain, *expected.values()}) == 3, "the masks change the answer"
    asked = [(MASKED, None), (MASKED, "forced"), (MASKED, "none"), (MASKED, forced), (PLAIN, forced), (PLAIN, None)]
    found = await asyncio.gather(*(answer(router, node, mask) for node, mask in asked))
    assert found == [
        (expected["off"], "off"), (expected["forced"], "forced"), (plain, None), (expected["forced"], "forced"),
        (expected["forced"], "forced"), (plain, None),
    ]  # fmt: skip


async def test_what_a_node_cannot_answer_with_is_refused(graph: Path, router: Router) -> None:
    with pytest.raises(RequestError, match=r"node masked \(forced, off\), found 'nosuch'"):
        await answer(router, MASKED, "nosuch")
    with pytest.raises(RequestError, match=r"node plain \(none\), found 'off'"):
        await answer(router, PLAIN, "off")
    with pytest.raises(MaskError, match="fingerprint"):
        await answer(router, PLAIN, load(graph.parent, "foreign"))
    assert (await answer(router, PLAIN))[1] is None


async def test_a_model_without_experts_has_no_masks(graph: Path) -> None:
    async with Router(spec("a", {"w": says("hello")}, {"a": expert("w")})) as router:
        with pytest.raises(CapabilityError, match="mask_slots"):
            await answer(router, NodeId("a"), load(graph.parent, "off"))


async def test_a_pair_of_models_has_no_masks(graph: Path) -> None:
    pair = {"kind": "token_pair", "small": "small", "large": "large"}
    small = {"engine": "local", "model": "never loaded", "token_router": "never loaded"}
    async with Router(spec("a", {"small": small, "large": says("y")}, {"a": pair})) as router:
        for asked in ("off", load(graph.parent, "off")):
            with pytest.raises(RequestError, match=r"node a \(none\), found 'off'"):
                await answer(router, NodeId("a"), asked)


async def test_many_masks_of_runs_come_and_go(router: Router) -> None:
    """More than an engine keeps, several at a time."""
    print_of = (await (await router.engine(MOE)).moe_shape()).fingerprint
    masks = [
        ExpertMask(name=f"m{at}", fingerprint=print_of, layers={1: LayerMask(off=(at % 16,)), 2: LayerMask(off=(at // 16,))})
        for at in range(40)
    ]  # fmt: skip
    alone = {mask.name: await answer(router, PLAIN, mask) for mask in masks[:3]}
    together = await asyncio.gather(*(answer(router, PLAIN, mask) for mask in masks))
    assert [name for _, name in together] == [mask.name for mask in masks]
    assert together[:3] == list(alone.values())


def test_the_files_of_a_graph(graph: Path) -> None:
    names = [file.name for file in mask_files(Router.from_file(graph).spec)]
    assert names == ["off.json", "forced.json"]
