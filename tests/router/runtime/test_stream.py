"""Streams: order, completeness, early ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from experts.engines.config import ScriptedWorker
from experts.engines.requests import Chunk, GenerateRequest
from experts.engines.scripted import ScriptedEngine
from router import RunResult
from router.errors import EngineUnavailable
from router.trace import Delta, Failed
from tests.router.runtime.graphs import edge, expert, make, router, rules, says

ECHO = says(r" [\g<0>] ", match=".+")


def text(items: list[Any], node: str | None = None, *, working: bool = False) -> str:
    deltas = [item for item in items if isinstance(item, Delta) and item.working == working]
    return "".join(delta.text for delta in deltas if node in (None, delta.node))


class Endless(ScriptedEngine):
    """Never ends by itself; knows whether somebody ended it."""

    def __init__(self) -> None:
        super().__init__(ScriptedWorker.model_validate(says("x")))
        self.closed = False

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        try:
            while True:
                await asyncio.sleep(0.001)
                yield Chunk("x")
        finally:
            self.closed = True


@pytest.fixture
def chain() -> Any:
    return make("a", {"e": ECHO}, {n: expert("e") for n in "abc"}, edge("a", "b"), edge("b", "c"))


def test_order_and_completeness(chain: Any) -> None:
    items = list(chain.stream("hello there"))
    assert isinstance(items[-1], RunResult)
    assert [i for i in items if not isinstance(i, Delta)][:-1] == list(items[-1].events)
    assert text(items) == items[-1].answer == "[[[hello there]]]"
    assert text(items, "a", working=True) == " [hello there] "
    order = [item.node for item in items[:-1]]
    assert order == sorted(order), "what a node wrote, then its event, then the next node"
    events = [i for i, item in enumerate(items[:-1]) if not isinstance(item, Delta)]
    assert [items[i].node for i in events] == ["a", "b", "c"]
    assert all(items[i].node != items[i + 1].node for i in events[:-1])
    assert len([i for i in items if isinstance(i, Delta) and not i.working]) > 5, "the last node's text comes live"


def test_sync_and_async_give_the_same(chain: Any) -> None:
    async def collect() -> list[Any]:
        return [item async for item in chain.astream("q")]

    def bare(items: list[Any]) -> list[Any]:
        return [item.model_dump(exclude={"milliseconds"}) for item in items[:-1]]

    assert bare(asyncio.run(collect())) == bare(list(chain.stream("q")))
    assert asyncio.run(chain.arun("q")).answer == chain.run("q").answer


@pytest.mark.parametrize("method", ["vote", "concat"])
def test_a_join_says_its_answer_in_one_piece(method: str) -> None:
    nodes = {n: expert("e") for n in "sab"} | {"j": {"kind": "join", "method": method}}
    edges = [edge("s", "a"), edge("s", "b"), edge("a", "j"), edge("b", "j")]
    items = list(make("s", {"e": ECHO}, nodes, *edges).stream("q"))
    assert text(items) == items[-1].answer
    assert {item.node for item in items if isinstance(item, Delta) and not item.working} == {"j"}


def test_working_is_told_from_the_answer() -> None:
    items = list(make("a", {"w": says("two and two #### 4 ")}, {"a": expert("w", answer_after="####")}).stream("q"))
    assert (text(items), text(items, working=True)) == ("4", "two and two #### 4 ")


def test_a_cascade_that_stays() -> None:
    graph = make(
        "a", {"w": says("sure")}, {"a": expert("w"), "b": expert("w")}, edge("a", "b", "low_confidence", below=0.5)
    )
    items = list(graph.stream("q"))
    assert (text(items), text(items, working=True)) == ("sure", "sure")


def test_an_abstaining_router_says_so() -> None:
    nodes = {"r": router("r", threshold=0.95, answer="No idea."), "a": expert("e"), "b": expert("e")}
    items = list(
        make("r", {"r": says("<node_0>('x')<end>"), "e": ECHO}, nodes, edge("r", "a"), edge("r", "b")).stream("q")
    )
    assert text(items) == items[-1].answer == "No idea."


def test_a_failure_ends_the_stream_with_its_event() -> None:
    graph = make(
        "a", {"e": ECHO, "bad": says("", error="dead")}, {"a": expert("e"), "b": expert("bad")}, edge("a", "b")
    )
    items: list[Any] = []
    with pytest.raises(EngineUnavailable, match="dead"):
        items.extend(graph.stream("q"))
    assert isinstance(items[-1], Failed)
    assert items[-2].node == "a"


def test_a_later_turn_streams_its_own_events_alone(tmp_path: Path) -> None:
    workers = {"w": rules(("one", "<node_0>('x')<end>"), (".*", "short")), "e": ECHO}
    graph = make(
        "a", workers, {"a": expert("w"), "b": expert("e")}, edge("a", "b", "token"), checkpoints=tmp_path / "c.sqlite"
    )
    first = list(graph.stream("one", thread_id="t"))
    second = list(graph.stream("two", thread_id="t"))
    assert [len(items[-1].events) for items in (first, second)] == [2, 1]
    for items in (first, second):
        assert tuple(i for i in items[:-1] if not isinstance(i, Delta)) == items[-1].events


def test_closing_a_stream_early_stops_the_model() -> None:
    engine = Endless()
    items = make("a", {"w": says("x")}, {"a": expert("w")}, engines={"w": engine}).stream("q")
    assert next(items).text == "x"  # type: ignore[union-attr]
    items.close()  # type: ignore[attr-defined]
    assert engine.closed


def test_closing_an_async_stream_early_stops_the_model() -> None:
    engine = Endless()

    async def first() -> Any:
        items = make("a", {"w": says("x")}, {"a": expert("w")}, engines={"w": engine}).astream("q")
        item = await anext(items)
        await items.aclose()  # type: ignore[attr-defined]
        assert engine.closed
        return item

    assert asyncio.run(first()).text == "x"


def test_cancelling_a_run_stops_the_model() -> None:
    engine = Endless()
    engine.generate = lambda request: asyncio.sleep(60)  # type: ignore[method-assign, assignment]

    async def main() -> None:
        graph = make("a", {"w": says("x")}, {"a": expert("w")}, engines={"w": engine})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(graph.arun("q"), 0.3)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(main())
