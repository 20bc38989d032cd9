"""GraphSpec -> networkx.DiGraph."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from router.errors import GraphError
from router.spec.check import check_structure
from router.spec.models import EdgeSpec, GraphSpec

if TYPE_CHECKING:
    import networkx as nx

Graph: TypeAlias = "nx.DiGraph[str]"
"""What ``build_graph`` makes. A name for annotations: networkx loads when a graph is built."""


def build_graph(spec: GraphSpec) -> Graph:
    """The graph of a spec, nodes and edges in the order of the spec.

    Node attribute: ``spec`` (NodeSpec). Edge attributes: ``edges``, every EdgeSpec from the one node to the other, and
    of the first of them ``when`` (default filled in), ``token`` and ``below``; ``cost`` is that of the cheapest. Graph
    attributes: ``name``, ``entry`` and ``spec`` (GraphSpec).

    Raises:
        GraphError: the parts of the spec do not fit together. A spec from ``load_spec`` has been checked already.
    """
    import networkx as nx

    if findings := list(check_structure(spec)):
        raise GraphError("\n".join(map(str, findings)))
    graph: Graph = nx.DiGraph(name=spec.name, entry=spec.entry, spec=spec)
    for node_id, node in spec.nodes.items():
        graph.add_node(node_id, spec=node)
    parallel: dict[tuple[str, str], list[EdgeSpec]] = {}
    for edge in spec.edges:
        parallel.setdefault((edge.source, edge.target), []).append(edge)
    for (source, target), edges in parallel.items():
        first = edges[0]
        graph.add_edge(
            source, target, edges=tuple(edges), when=spec.when(first), token=first.token, below=first.below,
            cost=min(edge.cost for edge in edges),
        )  # fmt: skip
    return graph
