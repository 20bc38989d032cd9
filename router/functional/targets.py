"""What a router node of a graph chooses among."""

from __future__ import annotations

from router.errors import GraphError
from router.functional.decision import Target
from router.spec.models import GraphSpec, RouterNode
from router.types import NodeId


def targets_of(spec: GraphSpec, node: NodeId) -> tuple[Target, ...]:
    """The targets of a node's ``token`` edges, in the order of the spec."""
    return tuple(
        Target(edge.target, spec.nodes[edge.target].description, spec.nodes[edge.target].examples, edge.token)
        for edge in spec.edges
        if edge.source == node and spec.when(edge) == "token"
    )


def router_node(spec: GraphSpec, node: NodeId | None = None) -> tuple[NodeId, RouterNode]:
    """The named router node, or the only one there is.

    Raises:
        GraphError: there is no such node, it is no router, or there are several to choose from.
    """
    routers = {name: found for name, found in spec.nodes.items() if isinstance(found, RouterNode)}
    if node is None and len(routers) == 1:
        return next(iter(routers.items()))
    if node is None or node not in routers:
        found = "none named" if node is None else f"{node!r}"
        raise GraphError(f"expected one of the router nodes {', '.join(routers) or '(none)'}, found {found}. Name one")
    return node, routers[node]
