"""Short texts for nodes and edges in drawings."""

from __future__ import annotations

from router.spec.models import EdgeSpec, ExpertNode, GraphSpec, JoinNode, NodeSpec, RouterNode, TokenPairNode


def condition(spec: GraphSpec, edge: EdgeSpec) -> str:
    """When the edge is taken and what that costs; empty for a free edge that is always taken."""
    when = spec.when(edge)
    text = {"always": "", "token": edge.token or "token", "low_confidence": f"below {edge.below or 0:g}"}.get(
        when, when
    )
    return ", ".join(part for part in (text, f"cost {edge.cost:g}" if edge.cost else "") if part)


def detail(node: NodeSpec) -> str:
    """What does the work in a node."""
    match node:
        case RouterNode():
            return node.worker
        case ExpertNode():
            return f"{node.worker} + {node.adapter}" if node.adapter else node.worker
        case TokenPairNode():
            bound = f", at most {100 * node.max_large_share:g}% by {node.large}" if node.max_large_share < 1 else ""
            return f"{node.small} / {node.large}{bound}"
        case JoinNode():
            return node.method
    return node.tool
