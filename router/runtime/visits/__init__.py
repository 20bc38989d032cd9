"""What each kind of node does when a run visits it."""

from __future__ import annotations

from router.errors import GraphError
from router.runtime.engines import EnginePool
from router.runtime.visits.answer import AnswerVisitor
from router.runtime.visits.base import Visit, Visitor
from router.runtime.visits.join import JoinVisitor
from router.runtime.visits.route import RouteVisitor
from router.spec.models import ExpertNode, GraphSpec, JoinNode, RouterNode
from router.types import NodeId

__all__ = ["RouteVisitor", "Visit", "Visitor", "visitor"]


def visitor(spec: GraphSpec, name: NodeId, pool: EnginePool) -> Visitor:
    """The visitor of a node.

    Raises:
        GraphError: this version cannot run nodes of that kind.
    """
    match spec.nodes[name]:
        case RouterNode() as node:
            return RouteVisitor(spec, name, node, pool)
        case ExpertNode() as node:
            return AnswerVisitor(spec, name, node, pool)
        case JoinNode() as node:
            return JoinVisitor(name, node)
        case node:
            raise GraphError(
                f"expected nodes that this version can run (router, expert, join), found {name} of kind {node.kind}. "
                "The spec is valid and can be drawn; to run it, use an expert there"
            )
