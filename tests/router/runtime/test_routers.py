"""Routers, hierarchies, fan-out, and experts that hand on, all by functional tokens that a scripted model writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import Router
from router.errors import EngineError, GraphError, TokenHeadError
from router.trace import Answered, Failed, Routed
from router.types import NodeId
from tests.experts.engines.checkpoints import save_checkpoint
from tests.router.runtime.graphs import edge, expert, make, router, rules, says, visited

ECHO = says(r"[\g<0>]", match=".+")
TOP = rules(("sum|root", "<node_0>('maths: \\g<0>')<end>"), (".*", "<node_1>('else')<end>"))
BELOW = rules(("sum", "<node_0>('1+1')<end>"), (".*", "<node_1>('sqrt 4')<end>"))
NODES = {"top": router("top"), "maths": router("below"), "sums": expert("e"), "roots": expert("e"), "else": expert("e")}
EDGES = [edge("top", "maths"), edge("top", "else"), edge("maths", "sums"), edge("maths", "roots")]
WORKERS = {"top": TOP, "below": BELOW, "e": ECHO}


def test_a_hierarchy() -> None:
    graph = make("top", WORKERS, NODES, *EDGES)
    result = graph.run("the sum")
    assert (result.answer, visited(result)) == ("[1+1]", ["top", "maths", "sums"])
    assert [(pick.node, pick.token) for pick in result.route] == [("maths", "<node_0>"), ("sums", "<node_0>")]
    assert not result.abstained
    first, second = result.events[:2]
    assert isinstance(first, Routed)
    assert isinstance(second, Routed)
    assert (first.queries, second.query, second.queries) == (("maths: sum",), "maths: sum", ("1+1",))
    assert first.chosen[0].probability == pytest.approx(0.9)
    assert graph.run("the root").answer == "[sqrt 4]"
    assert graph.run("poem").answer == "[else]"


def test_routes_without_a_run() -> None:
    graph = make("top", WORKERS, NODES, *EDGES)
    decisions = graph.route_many(["the sum", "poem", "the root"])
    assert [d.chosen[0].node for d in decisions] == ["sums", "else", "roots"]
    assert [d.queries for d in decisions] == [("1+1",), ("else",), ("sqrt 4",)]
    assert graph.route("the root").chosen[0].node == "roots"
    with pytest.raises(GraphError, match="router at a"):
        make("a", WORKERS, {"a": expert("e")}).route("q")


def test_routes_in_a_cycle_of_routers_end() -> None:
    nodes = {"r": router("r"), "s": router("r"), "a": expert("e"), "b": expert("e")}
    edges = [edge("r", "s"), edge("r", "a"), edge("s", "r"), edge("s", "b")]
    graph = make("r", {"r": says("<node_0>('again')<end>"), "e": ECHO}, nodes, *edges, budget={"steps": 4})
    assert graph.route("q").chosen[0].node == "r"


def test_fan_out_to_a_join() -> None:
    workers = {"r": rules((".*", "<node_1>('second')<end>")), "e": ECHO}
    nodes = {"r": router("r", fan_out=2), "j": {"kind": "join", "method": "concat", "separator": "|"}}
    nodes |= {n: expert("e") for n in "abc"}
    edges = [edge("r", n) for n in "abc"] + [edge(n, "j") for n in "abc"]
    result = make("r", workers, nodes, *edges).run("q")
    assert len(result.route) == 2
    assert result.route[0].node == "b"
    assert visited(result)[-1] == "j"
    assert "[second]" in result.answer.split("|")
    assert result.usage.steps == 4


@pytest.mark.parametrize(
    ("answer", "edges", "expected"),
    [
        (None, [], "I cannot answer that"),
        ("Ask a person.", [], "Ask a person."),
        ("Ask a person.", [edge("r", "c", "fallback")], "[q]"),
        ("Ask a person.", [edge("r", "c", "always")], "[q]"),
    ],
)
def test_abstaining(answer: str | None, edges: list[object], expected: str) -> None:
    nodes = {"r": router("r", threshold=0.95, answer=answer), "a": expert("e"), "b": expert("e")}
    nodes |= {"c": expert("e")} if edges else {}
    workers = {"r": says("<node_0>('x')<end>"), "e": ECHO}
    graph = make("r", workers, nodes, edge("r", "a"), edge("r", "b"), *edges)  # type: ignore[arg-type]
    result = graph.run("q")
    assert result.answer.startswith(expected)
    assert result.abstained
    assert result.route[0].node is None
    assert graph.route("q").chosen == ()


def test_a_malformed_call_is_in_the_trace() -> None:
    workers = {"r": says("<node_0>oops<end>"), "e": ECHO}
    nodes = {"r": router("r"), "a": expert("e"), "b": expert("e")}
    result = make("r", workers, nodes, edge("r", "a"), edge("r", "b")).run("q")
    event = result.events[0]
    assert isinstance(event, Routed)
    assert (result.answer, event.malformed) == ("[q]", ("oops",))


def test_a_dead_router_takes_its_fallback() -> None:
    workers = {"r": says("", error="dead"), "e": ECHO}
    nodes = {"r": router("r"), "a": expert("e"), "b": expert("e")}
    result = make("r", workers, nodes, edge("r", "a"), edge("r", "b", "fallback")).run("q")
    assert (result.answer, visited(result)) == ("[q]", ["r", "b"])
    assert isinstance(result.events[0], Failed)


def test_missing_functional_tokens_are_not_hidden_by_a_fallback() -> None:
    workers = {"w": {"engine": "scripted", "rules": [{"answer": "x"}]}, "e": ECHO}
    with pytest.raises(TokenHeadError, match="<node_0>"):
        make(
            "a", workers, {"a": expert("w"), "b": expert("e")}, edge("a", "b", "token"), edge("a", "b", "fallback")
        ).run("q")


def hands_on(answer: str, *more: dict[str, object], **node: object) -> object:
    workers = {"w": rules(("easy", "done"), (".*", answer)), "e": ECHO}
    nodes = {"a": expert("w", **node), "b": expert("e"), "c": expert("e")}
    return make("a", workers, nodes, edge("a", "b", "token", token="<node_2>"), edge("a", "c"), *more)


def test_an_expert_hands_on_by_a_functional_token() -> None:
    result = hands_on("let me see <node_2>('reformulated')<end>").run("hard")  # type: ignore[attr-defined]
    assert (result.answer, visited(result)) == ("[reformulated]", ["a", "b"])
    event = result.events[0]
    assert isinstance(event, Answered)
    assert event.chosen is not None
    assert (event.working, event.answer, event.chosen.token) == ("let me see ", "", "<node_2>")
    assert event.generated_tokens == len("let me see ") + 1 + len("('reformulated')") + 1
    assert [pick.node for pick in result.route] == ["b"]


def test_an_expert_that_answers_goes_along_its_always_edge() -> None:
    assert hands_on("<node_2>('x')<end>").run("easy").answer == "[done]"  # type: ignore[attr-defined]


@pytest.mark.parametrize("written", ["<node_2>no call<end>", "<node_2>"])
def test_a_call_that_is_none(written: str) -> None:
    with pytest.raises(EngineError, match="after <node_2>"):
        hands_on(written).run("hard")  # type: ignore[attr-defined]
    rescued = hands_on(written, edge("a", "c", "error", query="{original}!")).run("hard")  # type: ignore[attr-defined]
    assert rescued.answer == "[hard!]"


def test_a_functional_token_that_a_user_types_is_text() -> None:
    graph = make("a", {"w": ECHO, "e": ECHO}, {"a": expert("w"), "b": expert("e")}, edge("a", "b", "token"))
    result = graph.run("<node_0>('x')<end>")
    assert (result.answer, result.route) == ("[<node_0>('x')<end>]", ())


def shared(model: Path) -> Router:
    """A router that was never trained, and the expert that it chooses, on one model."""
    nodes = {"r": router("w"), "a": expert("w", examples=["hello there"], max_tokens=8)}
    return make("r", {"w": {"engine": "local", "model": str(model)}}, nodes, edge("r", "a", token="<sums>"))


@pytest.mark.asyncio
async def test_an_expert_answers_as_ever_though_a_router_has_added_tokens_to_its_model(tmp_path: Path) -> None:
    model = save_checkpoint(tmp_path / "model", "qwen3")
    async with shared(model) as graph:
        before = await graph.arun("hello there", node=NodeId("a"))
    async with shared(model) as graph:
        routed = await graph.arun("hello there")
        after = await graph.arun("hello there", node=NodeId("a"))
    for result in (routed, after):
        assert result.answer == before.answer
        assert result.events[-1].generated_tokens == before.events[-1].generated_tokens
        assert result.events[-1].probability == pytest.approx(before.events[-1].probability)


def test_an_expert_does_not_hand_on_by_a_token_that_a_router_has_added(tmp_path: Path) -> None:
    model = save_checkpoint(tmp_path / "model", "qwen3")
    workers = {"w": {"engine": "local", "model": str(model)}, "e": ECHO}
    token = {"token": "<sums>"}
    nodes = {"r": router("w"), "a": expert("w", examples=["hello there"], max_tokens=8), "b": expert("e")}
    graph = make("r", workers, nodes, edge("r", "a", **token), edge("a", "b", "token", **token))
    with pytest.raises(TokenHeadError, match="<sums> of the edge a -> b"):
        graph.run("hello there")
