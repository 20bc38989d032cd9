"""The compiled graph as a node of a user's own LangGraph, and calls from every kind of place."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from experts.engines.config import ScriptedWorker
from experts.engines.scripted import ScriptedEngine
from router import RunResult
from router.errors import RunError
from router.runtime.once import Once
from router.runtime.portal import call
from router.trace import Delta
from tests.router.runtime.graphs import edge, expert, make, says

ROOT = Path(__file__).parents[3]
ECHO = says(r"[\g<0>]", match=".+")
STREAM: Any = {"configurable": {"stream_tokens": True, "thread_id": "t"}}


def graph(**more: Any) -> Any:
    return make("a", {"e": ECHO}, {n: expert("e") for n in "ab"}, edge("a", "b"), **more)


@pytest.fixture
def outer() -> Any:
    """A user's graph: ours in the middle, memory of its own."""

    def shout(state: MessagesState) -> Any:
        return {"messages": [AIMessage(str(state["messages"][-1].text).upper())]}

    builder = StateGraph(MessagesState)
    builder.add_node("tokengraph", graph().runnable)
    builder.add_node("shout", shout)
    builder.add_edge(START, "tokengraph")
    builder.add_edge("tokengraph", "shout")
    builder.add_edge("shout", END)
    return builder.compile(checkpointer=InMemorySaver())


def turn(text: str) -> Any:
    return {"messages": [("user", text)]}


def test_embedded_sync_and_async(outer: Any) -> None:
    first = outer.invoke(turn("q"), STREAM)
    assert [m.text for m in first["messages"]] == ["q", "[[q]]", "[[Q]]"]
    second = asyncio.run(outer.ainvoke(turn("r"), STREAM))
    assert [m.text for m in second["messages"]][3:] == ["r", "[[r]]", "[[R]]"]


def test_embedded_streams(outer: Any) -> None:
    def pieces(items: Any) -> str:
        return "".join(item.text for _, item in items if isinstance(item, Delta) and not item.working)

    async def collect() -> list[Any]:
        return [item async for item in outer.astream(turn("q"), STREAM, stream_mode="custom", subgraphs=True)]

    for items in (list(outer.stream(turn("q"), STREAM, stream_mode="custom", subgraphs=True)), asyncio.run(collect())):
        assert pieces(items) == "[[q]]"
        assert [item.kind for _, item in items if not isinstance(item, Delta)] == ["answered", "answered"]
    quiet = {"configurable": {"thread_id": "u"}}
    assert list(outer.stream(turn("q"), quiet, stream_mode="custom", subgraphs=True)) == []


def test_the_runnable_by_itself() -> None:
    output = graph().runnable.invoke(turn("q"))
    assert set(output) == {"messages", "answer", "events", "spent"}
    assert (output["answer"], output["spent"]["steps"], [e["node"] for e in output["events"]]) == (
        "[[q]]",
        2,
        ["a", "b"],
    )


def test_inside_a_running_event_loop() -> None:
    """As in a notebook."""

    async def cell() -> tuple[str, str]:
        ours = graph()
        return ours.run("q").answer, list(ours.stream("q"))[-1].answer

    assert asyncio.run(cell()) == ("[[q]]", "[[q]]")


def test_inside_the_background_loop_itself() -> None:
    async def nested() -> RunResult:
        return graph().run("q")  # type: ignore[no-any-return]

    with pytest.raises(RunError, match="starts with `a`"):
        call(nested)


def test_several_threads_and_loops_share_one_router() -> None:
    ours = graph()

    def ask(i: int) -> str:
        return ours.run(str(i)).answer if i % 2 else asyncio.run(ours.arun(str(i))).answer  # type: ignore[no-any-return]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(24))) == [f"[[{i}]]" for i in range(24)]
    assert [r.answer for r in ours.batch([str(i) for i in range(40)], concurrency=7)] == [f"[[{i}]]" for i in range(40)]


def test_a_batch_keeps_errors_in_their_place() -> None:
    ours = make("a", {"w": says("ok", match="good")}, {"a": expert("w")})
    good, bad, last = ours.batch(["good", "bad", "good"])
    assert [getattr(r, "answer", None) for r in (good, bad, last)] == ["ok", None, "ok"]
    assert "expected a rule" in str(bad)


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO")


def test_the_callers_context_reaches_the_engine() -> None:
    seen: list[str] = []

    class Curious(ScriptedEngine):
        async def generate(self, request: Any) -> Any:
            seen.append(WHO.get())
            return await super().generate(request)

    engine = Curious(ScriptedWorker.model_validate(ECHO))
    ours = make("a", {"e": ECHO}, {"a": expert("e")}, engines={"e": engine})
    WHO.set("me")
    ours.run("q")
    ours.runnable.invoke(turn("q"))
    assert seen == ["me", "me"]


def test_close_frees_what_was_made_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Any] = []

    async def close(self: Any) -> None:
        closed.append(self)

    monkeypatch.setattr(ScriptedEngine, "close", close)
    mine = ScriptedEngine(ScriptedWorker.model_validate(ECHO))
    with make(
        "a", {"e": ECHO, "m": ECHO}, {"a": expert("e"), "b": expert("m")}, edge("a", "b"), engines={"m": mine}
    ) as ours:
        ours.run("q")
    assert len(closed) == 1
    assert closed[0] is not mine
    assert ours.run("q").answer == "[[q]]", "a later run loads anew"


def test_equal_workers_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    create = ScriptedEngine.__init__

    def count(self: Any, worker: Any) -> None:
        made.append(worker)
        create(self, worker)

    monkeypatch.setattr(ScriptedEngine, "__init__", count)
    ours = make("a", {"e": ECHO, "f": ECHO}, {"a": expert("e"), "b": expert("f")}, edge("a", "b"))
    ours.batch(["q"] * 8)
    assert len(made) == 1


def test_who_waits_takes_over_from_who_was_cancelled() -> None:
    async def main() -> None:
        once: Once[int] = Once()
        tries: list[int] = []

        async def make_it() -> int:
            tries.append(1)
            await asyncio.sleep(0.05)
            return len(tries)

        first, second, third = (asyncio.create_task(once.get("k", make_it)) for _ in range(3))
        await asyncio.sleep(0.01)
        first.cancel()
        third.cancel()
        assert await second == 2
        assert await once.get("k", make_it) == 2
        assert once.clear() == [2]

    asyncio.run(main())


def test_a_failure_is_not_kept() -> None:
    async def main() -> None:
        once: Once[str] = Once()

        async def fail() -> str:
            await asyncio.sleep(0)
            raise ValueError("no")

        async def work() -> str:
            return "yes"

        results = await asyncio.gather(*(once.get("k", fail) for _ in range(2)), return_exceptions=True)
        assert [str(result) for result in results] == ["no", "no"]
        assert await once.get("k", work) == "yes"

    asyncio.run(main())


LIGHT = """
import sys
{code}
heavy = {{"torch", "transformers", "langgraph", "langchain_core", "networkx", "numpy", "pydantic", "yaml", "peft"}}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import router, router.errors, router.types, experts.errors, experts", "[]"),
        ("from router import Message, TokengraphError", "[]"),
        ("from router import Router", "['pydantic', 'yaml']"),
        ("import experts.engines.vllm.engine", "['numpy', 'pydantic']"),
    ],
)
def test_imports_are_light(code: str, loaded: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", LIGHT.format(code=code)], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert found.stdout.strip() == loaded


def test_a_decision_alone_needs_no_langgraph() -> None:
    code = """
from tests.router.runtime.graphs import edge, expert, make, router, says
graph = make("r", {"r": says("<node_0>('x')<end>")}, {"r": router("r"), "a": expert("r")}, edge("r", "a"))
assert graph.route("q").chosen[0].node == "a"
"""
    found = subprocess.run(
        [sys.executable, "-c", LIGHT.format(code=code)], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert not {"torch", "transformers", "langgraph", "langchain_core"} & set(ast.literal_eval(found.stdout))


def test_nothing_is_left_running() -> None:
    """One background thread, however many routers and runs."""
    for _ in range(3):
        list(graph().stream("q"))
    assert [thread.name for thread in threading.enumerate()].count("tokengraph") == 1
