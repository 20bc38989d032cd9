"""What it takes to get to each node: steps and costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.graph.build import Graph


def steps_needed(graph: Graph) -> dict[str, int]:
    """Nodes visited at least until each reachable node has run; 1 for the entry."""
    import networkx as nx

    return {
        node: length + 1 for node, length in nx.single_source_shortest_path_length(graph, graph.graph["entry"]).items()
    }


def cheapest_costs(graph: Graph) -> dict[str, float]:
    """Cost of the cheapest path from the entry to each reachable node (Dijkstra), in the unit of the spec's costs."""
    import networkx as nx

    costs = nx.single_source_dijkstra_path_length(graph, graph.graph["entry"], weight="cost")
    return {node: float(cost) for node, cost in costs.items()}


def worst_costs(graph: Graph) -> dict[str, float]:
    """Cost of the dearest path from the entry to each reachable node, in the unit of the spec's costs.

    Infinite where a cycle that costs something can come before the node: there only the budget bounds a run.
    """
    import networkx as nx

    entry = graph.graph["entry"]
    reached = graph.subgraph({entry, *nx.descendants(graph, entry)})
    dearest = {(u, v): max(edge.cost for edge in data["edges"]) for u, v, data in reached.edges(data=True)}
    components = nx.condensation(reached)  # the acyclic graph of the groups of nodes that are on a common cycle
    home: dict[str, int] = components.graph["mapping"]
    worst = dict.fromkeys(components, -math.inf)
    worst[home[entry]] = 0.0
    for component in nx.topological_sort(components):
        members = components.nodes[component]["members"]
        if any(cost > 0 for (u, v), cost in dearest.items() if u in members and v in members):
            worst[component] = math.inf
        for (u, v), cost in dearest.items():
            if u in members and v not in members:
                worst[home[v]] = max(worst[home[v]], worst[component] + cost)
    return {node: worst[home[node]] for node in reached}
