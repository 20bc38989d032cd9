"""What each kind of node does when a run visits it."""

from __future__ import annotations

from router.errors import GraphError
from router.runtime.engines import EnginePool
from router.runtime.tools import ToolPool
from router.runtime.visits.answer import AnswerVisitor
from router.runtime.visits.base import Visit, Visitor
from router.runtime.visits.join import JoinVisitor
from router.runtime.visits.route import RouteVisitor
from router.runtime.visits.tool import ToolVisitor
from router.spec.models import ExpertNode, GraphSpec, JoinNode, RouterNode, ToolNode
from router.types import NodeId

__all__ = ["RouteVisitor", "Visit", "Visitor", "visitor"]


def visitor(spec: GraphSpec, name: NodeId, pool: EnginePool, tools: ToolPool) -> Visitor:
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
        case ToolNode() as node:
            return ToolVisitor(name, node, tools)
        case node:
            raise GraphError(
                f"expected nodes that this version can run (router, expert, tool, join), found {name} of kind {node.kind}. "
                "The spec is valid and can be drawn; to run it, use an expert there"
            )
