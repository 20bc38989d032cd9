from __future__ import annotations

from router.runtime.moves import Outcome, WaysOut
from router.spec.models import EdgeSpec, ExpertNode, GraphSpec, RouterNode
from router.trace import Failed
from router.types import NodeId, WorkerId

EVENT = Failed(node=NodeId("master"), query="q", error="none", milliseconds=0)


def ways_out(*edges: EdgeSpec) -> WaysOut:
    worker = WorkerId("w")
    nodes = {NodeId("master"): RouterNode(kind="router", worker=worker)} | {
        NodeId(name): ExpertNode(kind="expert", worker=worker) for name in "abc"
    }
    return WaysOut(GraphSpec(entry=NodeId("master"), nodes=nodes, edges=edges), NodeId("master"))


def edge(target: str, **more: str) -> EdgeSpec:
    return EdgeSpec.model_validate({"from": "master", "to": target, **more})


def test_picks_are_asked_in_the_order_of_the_graph() -> None:
    out = ways_out(edge("a"), edge("b"), edge("c"), edge("b", when="always"))
    outcome = Outcome(EVENT, picks=((NodeId("c"), "of c"), (NodeId("a"), "of a")))
    found = [(move.edge.target, move.query) for move in out.moves(outcome, query="q", original="q")]
    assert found == [("a", "of a"), ("c", "of c"), ("b", "q")]


def test_a_target_is_asked_once_along_its_first_edge() -> None:
    out = ways_out(edge("a"), edge("a", query="again: {query}"), edge("a", when="always"))
    (move,) = out.moves(Outcome(EVENT, picks=((NodeId("a"), "of a"),)), query="q", original="q")
    assert move.query == "of a"


def test_without_edges_nothing_follows() -> None:
    assert ways_out().moves(Outcome(EVENT), query="q", original="q") == ()
