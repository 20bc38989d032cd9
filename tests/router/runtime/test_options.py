"""What a caller may ask of one run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from experts.engines.config import ScriptedWorker
from experts.engines.requests import GenerateRequest, Message
from experts.engines.scripted import ScriptedEngine
from router.errors import GraphError, RunError
from router.runtime.options import RunOptions, answers
from router.runtime.router import Prompt
from router.trace import EVENT, Answered, Delta
from router.types import NodeId, WorkerId
from tests.router.gateway.recording import BreaksOff, Slow
from tests.router.runtime.graphs import edge, expert, make, says, spec

ECHO = says(r"[\g<0>]", match=".+")


class Asked(ScriptedEngine):
    """Remembers its requests."""

    def __init__(self) -> None:
        super().__init__(ScriptedWorker.model_validate(says("answer")))
        self.requests: list[GenerateRequest] = []

    async def generate(self, request: GenerateRequest) -> Any:
        self.requests.append(request)
        return await super().generate(request)


def test_options_reach_the_answering_node_alone() -> None:
    first, last = Asked(), Asked()
    workers = {"f": says("x"), "l": says("x")}
    nodes = {
        "a": expert("f", max_tokens=9, temperature=0.5),
        "b": expert("l", max_tokens=9, temperature=0.5, seed=1, stop=["own"]),
    }
    graph = make("a", workers, nodes, edge("a", "b"), engines={WorkerId("f"): first, WorkerId("l"): last})
    deadline = time.monotonic() + 60
    options = RunOptions(
        max_tokens=3, temperature=0.0, top_p=0.5, seed=7, stop=("z",), logprobs=2, deadline=deadline, tools=({"x": 1},)
    )
    result = graph.run("q", options=options)
    (way,), (end,) = first.requests, last.requests
    assert (way.max_tokens, way.sampling.temperature, way.stop, way.top_logprobs, way.tools) == (9, 0.5, (), 0, ())
    assert (end.max_tokens, end.sampling.temperature, end.sampling.top_p, end.sampling.seed) == (3, 0.0, 0.5, 7)
    assert (end.stop, end.top_logprobs, end.tools) == (("own", "z"), 2, ({"x": 1},))
    assert way.deadline == end.deadline == deadline
    assert result.answer == "ans"


def test_who_answers() -> None:
    nodes = {n: expert("e") for n in "sabc"} | {"j": {"kind": "join"}}
    edges = [
        edge("s", "a"),
        edge("s", "b"),
        edge("a", "j"),
        edge("b", "j"),
        edge("b", "c", "low_confidence", below=0.5),
    ]
    graph = spec("s", {"e": ECHO}, nodes, *edges)
    assert [name for name in nodes if answers(graph, NodeId(name))] == ["a", "b", "c", "j"]


def test_logprobs_are_of_the_answer_s_tokens() -> None:
    graph = make("a", {"w": says("1+1=2", logprob=-0.5)}, {"a": expert("w", answer_after="=")})
    (event,) = graph.run("q", options=RunOptions(logprobs=1)).events
    assert isinstance(event, Answered)
    assert [(t.token, t.logprob, t.top) for t in event.logprobs] == [("2", -0.5, (("2", -0.5),))]
    assert EVENT.validate_python(event.model_dump(mode="json")) == event
    (plain,) = graph.run("q").events
    assert "logprobs" not in plain.model_dump(), "the trace of a run that was not asked for them is as it was"


def test_options_are_in_no_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite"
    graph = make("a", {"e": ECHO}, {"a": expert("e"), "b": expert("e")}, edge("a", "b"), checkpoints=file)
    result = graph.run("q", thread_id="t", options=RunOptions(max_tokens=2, stop=("marked",)))
    assert result.answer == "[["
    assert graph.resume("t").answer == "[["
    assert b"marked" not in file.read_bytes()


async def test_one_node_alone() -> None:
    graph = make("a", {"e": ECHO}, {"a": expert("e"), "b": expert("e")}, edge("a", "b"))
    assert (await graph.arun("q")).answer == "[[q]]"
    got: list[Any] = []
    result = await graph.arun("q", node=NodeId("a"), send=got.append)
    assert (result.answer, [event.node for event in result.events]) == ("[q]", ["a"])
    assert "".join(item.text for item in got if isinstance(item, Delta) and not item.working) == "[q]"
    assert got[-1] == result.events[0]
    assert (await graph.arun(Prompt("once"), node=NodeId("a"))).answer == "[once]"
    tool = [Message("user", "q"), Message("assistant", ""), Message("tool", "936")]
    assert (await graph.arun(tool, node=NodeId("a"))).answer == "[q]"
    with pytest.raises(GraphError, match=r"\(a, b\)"):
        await graph.arun("q", node=NodeId("nobody"))
    with pytest.raises(RunError, match="turn"):
        await graph.arun([Message("assistant", "hi")], node=NodeId("a"))
    with pytest.raises(GraphError, match="prompt"):
        await graph.arun(Prompt("once"))


async def test_a_listener_is_told_of_every_visit_whichever_way_it_ends() -> None:
    """What one that breaks off had written counts; an engine that is not there has read nothing."""
    prompt = len("user: q\nassistant: ")
    engines = {WorkerId("half"): BreaksOff(), WorkerId("slow"): Slow()}
    workers = {"half": ECHO, "slow": ECHO, "down": says("", error="down")}
    nodes = {"a": expert("half"), "b": expert("down"), "c": expert("slow")}
    graph = make("a", workers, nodes, edge("a", "b", "error"), edge("b", "c", "error"), engines=engines)
    for stream in (False, True):
        told: list[Any] = []
        send = (lambda _: None) if stream else None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(graph.arun("q", options=RunOptions(listener=told.append), send=send), 2)
        first, second, last = told
        assert [(event.node, event.kind) for event in told] == [("a", "failed"), ("b", "failed"), ("c", "stopped")]
        assert (second.prompt_tokens, second.generated_tokens, last.prompt_tokens) == (0, 0, prompt)
        if stream:
            assert (first.prompt_tokens, first.generated_tokens) == (prompt, 2)
            assert last.generated_tokens > 0
    told = []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(graph.arun("q", node=NodeId("c"), options=RunOptions(listener=told.append)), 0.5)
    assert [(event.kind, event.prompt_tokens) for event in told] == [("stopped", prompt)]


async def test_what_is_sent_is_what_a_stream_yields() -> None:
    graph = make("a", {"e": ECHO}, {"a": expert("e"), "b": expert("e")}, edge("a", "b"))
    sent: list[Any] = []
    await graph.arun("q", send=sent.append)
    streamed = [item async for item in graph.astream("q")][:-1]

    def bare(items: list[Any]) -> list[Any]:
        return [item.model_dump(exclude={"milliseconds"}) for item in items]

    assert bare(sent) == bare(streamed)
