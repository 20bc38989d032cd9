"""Answers that are held to JSON, in graphs: who is asked for it, and who refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from experts.engines.base import Capability
from experts.engines.config import ScriptedWorker
from experts.engines.requests import Chunk, GenerateRequest, JsonStructure, Message
from experts.engines.scripted import ScriptedEngine
from experts.errors import CapabilityError
from router import Router
from router.runtime.options import RunOptions
from router.trace import Answered, Failed
from router.types import NodeId, WorkerId
from tests.router.runtime.graphs import edge, expert, make, router, says, visited

JSON = RunOptions(structure=JsonStructure({"type": "object"}))
ANSWER = '{"a": 1}'


class Holds(ScriptedEngine):
    """Says that it can hold answers to JSON, and remembers which of its requests asked for that."""

    def __init__(self, answer: str = ANSWER, **rule: Any) -> None:
        super().__init__(ScriptedWorker.model_validate(says(answer, **rule)))
        self.requests: list[GenerateRequest] = []

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities | {Capability.STRUCTURED_OUTPUTS}

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        self.requests.append(request)
        async for chunk in super().stream(replace(request, structure=None)):
            yield chunk

    @property
    def held(self) -> list[bool]:
        return [request.structure is not None for request in self.requests]


def graph(nodes: dict[str, Any], *edges: Any, entry: str = "a", workers: Any = None, **engines: Holds) -> Router:
    given = {WorkerId(name): engine for name, engine in engines.items()}
    return make(entry, dict.fromkeys(engines, says("x")) | (workers or {}), nodes, *edges, engines=given)


def test_the_node_with_the_last_word_alone_is_held() -> None:
    way, end = Holds("on the way"), Holds()
    with graph(
        {"a": expert("w"), "b": expert("e", stop=["1"], answer_after=":")}, edge("a", "b"), w=way, e=end
    ) as made:
        result = made.run("q", options=JSON)
        streamed = list(made.stream("q", options=JSON))[-1]
    assert result.answer == ANSWER == streamed.answer  # type: ignore[union-attr]
    assert (way.held, end.held) == ([False] * 2, [True] * 2)
    assert end.requests[0].structure == JSON.structure


def test_a_router_decides_as_ever() -> None:
    master, node = Holds("<node_0>('asked')<end>"), Holds()
    nodes = {"m": router("m"), "a": expert("e"), "b": expert("e")}
    with graph(nodes, edge("m", "a"), edge("m", "b"), entry="m", m=master, e=node) as made:
        assert made.run("q", options=JSON).answer == ANSWER
    assert not any(master.held) and node.held == [True]


def test_an_expert_may_hand_the_query_on_first() -> None:
    hands_on, last = Holds("<node_0>('sum')<end>"), Holds()
    nodes = {"a": expert("h"), "b": expert("e")}
    with graph(nodes, edge("a", "b", "token"), h=hands_on, e=last) as made:
        result = made.run("q", options=JSON)
    assert (visited(result), result.answer) == (["a", "b"], ANSWER)
    assert not any(hands_on.held) and last.requests[0].messages == (Message("user", "sum"),)

    answers = Holds()
    with graph(nodes, edge("a", "b", "token"), h=answers, e=last) as made:
        result = made.run("q", options=JSON)
    assert (result.answer, answers.held) == (ANSWER, [False, True])
    (event,) = result.events
    assert isinstance(event, Answered) and event.generated_tokens == 1 + len(ANSWER) + 1
    assert answers.requests[1].stop_token_ids == ()


@pytest.mark.parametrize("method", ["vote", "best"])
def test_a_join_chooses_among_answers_that_are_held(method: str) -> None:
    one, other = Holds(), Holds()
    nodes = {"s": router("m", fan_out=2), "a": expert("e"), "b": expert("f"), "j": {"kind": "join", "method": method}}
    edges = [edge("s", "a"), edge("s", "b"), edge("a", "j"), edge("b", "j")]
    master = Holds("<node_0>('x')<end>")
    with graph(nodes, *edges, entry="s", m=master, e=one, f=other) as made:
        assert made.run("q", options=JSON).answer == ANSWER
    assert one.held == other.held == [True]


def refused(made: Router, why: str, **more: Any) -> CapabilityError:
    with made, pytest.raises(CapabilityError, match=rf"held to JSON.*{why}") as caught:
        made.run("q", options=JSON, **more)
    return caught.value


def test_who_cannot_be_held_refuses() -> None:
    arithmetic: Any = [{"builtin": "arithmetic"}]
    error = refused(make("a", {"w": says("x")}, {"a": expert("w")}), "node a.*scripted can only write text")
    assert isinstance(error.events[-1], Failed)
    for tool_format in ("native", "tokens"):
        node = expert("w", tools=["add"], tool_format=tool_format)
        refused(make("a", {"w": says("x")}, {"a": node}, tools=arithmetic), "node a.*calls of tools")
    tool = {"a": {"kind": "tool", "tool": "add"}}
    refused(make("a", {}, tool, tools=arithmetic), "node a.*what its tool says")
    joined = {"a": expert("e"), "j": {"kind": "join", "method": "concat"}}
    refused(graph(joined, edge("a", "j"), e=Holds()), "node j.*one after the other")
    unsure = {"m": router("m", threshold=0.95), "a": expert("e"), "b": expert("e")}
    made = graph(unsure, edge("m", "a"), edge("m", "b"), entry="m", m=Holds("<node_0>('x')<end>"), e=Holds())
    refused(made, "node m.*no node to ask")
    beside = {"s": router("m", fan_out=2), "a": expert("e"), "b": expert("e"), "j": {"kind": "join"}}
    edges = [edge("s", "a"), edge("s", "b"), edge("a", "j", "token"), edge("b", "j", "token")]
    made = graph(beside, *edges, entry="s", m=Holds("<node_0>('x')<end>"), e=Holds())
    refused(made, "not the only one")


def test_a_fallback_may_be_held_instead() -> None:
    workers = {"w": says("x")}
    nodes = {"a": expert("w"), "b": expert("e")}
    with graph(nodes, edge("a", "b", "fallback"), workers=workers, e=Holds()) as made:
        result = made.run("q", options=JSON)
    assert (visited(result), result.answer) == (["a", "b"], ANSWER)


def test_what_is_known_before_a_model_runs() -> None:
    workers = {
        "l": {"engine": "local", "model": "not/there"}, "s": says("x"),
        "v": {"engine": "vllm", "model": "not/there", "token_router": "not/there"},
    }  # fmt: skip
    nodes = {name: expert(name) for name in "lvsh"} | {"p": {"kind": "token_pair", "small": "v", "large": "l"}}
    edges = [edge("m", name) for name in nodes]
    with graph({"m": router("h"), **nodes}, *edges, entry="m", workers=workers, h=Holds()) as made:
        known = {name: made.unstructured(NodeId(name)) for name in nodes}
    assert [name for name, why in known.items() if why is None] == ["v", "h"]
    assert "engine that can only write text" in str(known["l"]) and "two models" in str(known["p"])
