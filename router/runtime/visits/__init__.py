"""What each kind of node does when a run visits it."""

from __future__ import annotations

from router.runtime.engines import EnginePool
from router.runtime.tools import ToolPool
from router.runtime.visits.answer import AnswerVisitor
from router.runtime.visits.base import Visit, Visitor
from router.runtime.visits.join import JoinVisitor
from router.runtime.visits.native_user import NativeUserVisitor
from router.runtime.visits.route import RouteVisitor
from router.runtime.visits.token_pair import TokenPairVisitor
from router.runtime.visits.tool import ToolVisitor
from router.runtime.visits.tool_user import ToolUserVisitor
from router.spec.models import ExpertNode, GraphSpec, JoinNode, RouterNode, TokenPairNode, ToolNode
from router.types import NodeId

__all__ = ["RouteVisitor", "Visit", "Visitor", "visitor"]


def visitor(spec: GraphSpec, name: NodeId, pool: EnginePool, tools: ToolPool) -> Visitor:
    """The visitor of a node."""
    match spec.nodes[name]:
        case RouterNode() as node:
            return RouteVisitor(spec, name, node, pool)
        case ExpertNode() as node:
            if not node.tools:
                return AnswerVisitor(spec, name, node, pool)
            kind = NativeUserVisitor if node.tool_format == "native" else ToolUserVisitor
            return kind(spec, name, node, pool, tools)
        case TokenPairNode() as node:
            return TokenPairVisitor(spec, name, node, pool)
        case JoinNode() as node:
            return JoinVisitor(name, node)
        case ToolNode() as node:
            return ToolVisitor(name, node, tools)
