"""GraphSpec -> networkx.DiGraph, and functions over it."""

from __future__ import annotations

from router.graph.build import Graph, build_graph
from router.graph.costs import cheapest_costs, steps_needed, worst_costs
from router.graph.draw import mermaid, svg, tree

__all__ = ["Graph", "build_graph", "cheapest_costs", "mermaid", "steps_needed", "svg", "tree", "worst_costs"]
