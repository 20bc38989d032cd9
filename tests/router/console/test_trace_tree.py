"""Which visit led to which, and how a trace reads."""

from __future__ import annotations

from rich.console import Console

from router.console.trace_tree import parents, trace_tree
from router.runtime.router import Router
from router.spec import parse_spec
from router.trace import Answered, Event, Failed, Joined, Pick, Routed
from router.types import NodeId

WORKERS = """\
workers:
  w: {engine: scripted, tokens: ["<node_0>", "<node_1>", "<end>"], rules: [{answer: "<node_0>('x')<end>"}]}
  v: {engine: scripted, rules: [{answer: "said by v"}]}
  dead: {engine: scripted, rules: [{error: "gone"}]}
"""


def shown(spec: str) -> list[str]:
    router = Router(parse_spec(WORKERS + spec))
    screen = Console(width=120, record=True, quiet=True)
    with screen.capture() as capture:
        screen.quiet = False
        screen.print(trace_tree(router.run("q"), router.spec))
    return capture.get().splitlines()


def answered(node: str, query: str = "q", answer: str = "a") -> Answered:
    return Answered(node=NodeId(node), query=query, answer=answer, probability=1, finish_reason="stop")


def routed(*chosen: str) -> Routed:
    picks = tuple(Pick(node=NodeId(node), token="", probability=0.5) for node in chosen)
    return Routed(node=NodeId("r"), query="q", chosen=picks, queries=("q",) * len(chosen), alternatives=picks)


def edges(*pairs: str) -> set[tuple[NodeId, NodeId]]:
    return {(NodeId(pair[0]), NodeId(pair[1])) for pair in pairs}


def test_branches_stand_side_by_side_and_their_join_below_what_they_have_in_common() -> None:
    joined = Joined(node=NodeId("j"), method="vote", sources=(NodeId("a"), NodeId("b")), answer="", probability=1)
    events: list[Event] = [routed("a", "b"), answered("a"), answered("b"), joined, answered("z")]
    assert parents(events, edges("ra", "rb", "rc", "aj", "bj", "jz")) == [None, 0, 0, 0, 3]


def test_a_router_leads_only_to_what_it_chose() -> None:
    events: list[Event] = [answered("a"), routed("b"), answered("c"), answered("b")]
    assert parents(events, edges("ar", "ac", "rb", "rc")) == [None, 0, 0, 1]


def test_of_two_visits_that_fit_the_one_that_asked() -> None:
    events: list[Event] = [
        answered("s"),
        answered("a", answer="x"),
        answered("b", answer="y"),
        answered("c", query="x"),
    ]
    assert parents(events, edges("sa", "sb", "ac", "bc")) == [None, 0, 0, 1]


def test_a_failure_leads_on() -> None:
    events: list[Event] = [Failed(node=NodeId("a"), error="e", next=(NodeId("b"),)), answered("b")]
    assert parents(events, edges("ab")) == [None, 0]


def test_a_fallback() -> None:
    lines = shown(
        "entry: a\nnodes: {a: {kind: expert, worker: dead}, b: {kind: expert, worker: v}}\n"
        "edges: [{from: a, to: b, when: fallback}]\n"
    )
    assert lines[0] == "q"
    assert lines[1].startswith("└── a failed, goes on to b")
    assert lines[2].split() == ["error", "gone"]
    assert lines[3].startswith("    └── b answers 100.0%")
    assert lines[-1].startswith("2 visits")


def test_a_route_names_the_alternatives_and_the_new_query_once() -> None:
    text = "\n".join(
        shown(
            "entry: r\nnodes: {r: {kind: router, worker: w}, a: {kind: expert, worker: v}, b: {kind: expert, worker: v}}\n"
            "edges: [{from: r, to: a}, {from: r, to: b}]\n"
        )
    )
    assert "r → a <node_0> 90.0%" in text
    assert "else      b <node_1> 10.0%" in text
    assert "asks      x" in text
    assert "asked" not in text


def test_abstaining() -> None:
    lines = shown(
        "entry: r\nnodes: {r: {kind: router, worker: w, threshold: 0.95}, a: {kind: expert, worker: v},"
        " b: {kind: expert, worker: v}}\nedges: [{from: r, to: a}, {from: r, to: b}]\n"
    )
    assert lines[1].startswith("└── r abstains")
    assert "found     a <node_0> 90.0%" in lines[2]
