"""The shape of the graph: what is reached, what never ends, what never answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.spec.models import GraphSpec, JoinNode, RouterNode
from router.spec.positions import Finding, Findings

if TYPE_CHECKING:
    import networkx as nx

    Graph = nx.DiGraph[str]


def check_reach(spec: GraphSpec) -> Findings:
    """Expects that every name in the spec is known."""
    import networkx as nx

    graph: Graph = nx.DiGraph()
    graph.add_nodes_from(spec.nodes)
    for edge in spec.edges:
        cheaper = (
            min(edge.cost, graph.edges[edge.source, edge.target]["cost"])
            if graph.has_edge(edge.source, edge.target)
            else edge.cost
        )
        graph.add_edge(edge.source, edge.target, cost=cheaper)
    reached = {spec.entry, *nx.descendants(graph, spec.entry)}
    for node_id, node in spec.nodes.items():
        if isinstance(node, JoinNode) and not graph.in_degree(node_id):
            fix = f"add edges that lead to it, `{{from: ..., to: {node_id}}}`"
            yield Finding(("nodes", node_id), "a join that branches lead to", f"no edge to {node_id}", fix)
        elif node_id not in reached:
            fix = f"add an edge that leads to it, or remove {node_id}"
            yield Finding(("nodes", node_id), f"a way from {spec.entry} to every node", f"none to {node_id}", fix)
    if isinstance(spec.nodes[spec.entry], JoinNode):
        yield Finding(("entry",), "a node that can take a query", f"{spec.entry}, a join", "enter at another node")
    yield from _check_cycles(spec, graph)
    yield from _check_branches(spec, graph)
    yield from _check_budget(spec, graph)


def _check_cycles(spec: GraphSpec, graph: Graph) -> Findings:
    import networkx as nx

    endless: Graph = nx.DiGraph((e.source, e.target) for e in spec.edges if spec.when(e) == "always")
    if (cycle := _cycle(endless)) is not None:
        fix = "give one of these edges a condition, such as `when: low_confidence`"
        yield _cycle_finding(spec, cycle, "a way out of every cycle", "always: ", fix)
    elif spec.budget.steps is None and (cycle := _cycle(graph)) is not None:
        fix = "add `budget: {steps: 8}`, or remove an edge"
        yield _cycle_finding(spec, cycle, "`budget.steps` in a graph with a cycle", "", fix)


def _cycle(graph: Graph) -> list[str] | None:
    import networkx as nx

    try:
        return [source for source, *_ in nx.find_cycle(graph)]
    except nx.NetworkXNoCycle:
        return None


def _cycle_finding(spec: GraphSpec, cycle: list[str], expected: str, before: str, fix: str) -> Finding:
    last = max(i for i, e in enumerate(spec.edges) if (e.source, e.target) == (cycle[-1], cycle[0]))
    return Finding(("edges", last), expected, before + " -> ".join([*cycle, cycle[0]]), fix)


def _check_branches(spec: GraphSpec, graph: Graph) -> Findings:
    """Branches that run at once must meet again, else there is more than one answer."""
    import networkx as nx

    joins = {node_id for node_id, node in spec.nodes.items() if isinstance(node, JoinNode)}
    for node_id, node in spec.nodes.items():
        if isinstance(node, RouterNode):
            targets = [edge.target for edge in spec.edges if edge.source == node_id and spec.when(edge) == "token"]
            together = min(node.fan_out, len(set(targets))) > 1
        else:
            targets = [edge.target for edge in spec.edges if edge.source == node_id and spec.when(edge) == "always"]
            together = len(set(targets)) > 1
        loose = [target for target in dict.fromkeys(targets) if not joins & {target, *nx.descendants(graph, target)}]
        if together and loose:
            found = f"{node_id} -> {loose[0]}, from where no join is reached"
            index = next(i for i, e in enumerate(spec.edges) if (e.source, e.target) == (node_id, loose[0]))
            fix = "lead every branch to a join" + (
                ", or ask one node at a time" if isinstance(node, RouterNode) else ""
            )
            yield Finding(("edges", index), f"a join after the branches of {node_id}", found, fix)


def _check_budget(spec: GraphSpec, graph: Graph) -> Findings:
    """Is there an answer at all within the budget? A router routes; any other node answers."""
    import networkx as nx

    answering = [node_id for node_id, node in spec.nodes.items() if not isinstance(node, RouterNode)]
    steps = nx.single_source_shortest_path_length(graph, spec.entry)
    costs = nx.single_source_dijkstra_path_length(graph, spec.entry, weight="cost")
    for key, limit, needed in (
        ("steps", spec.budget.steps, min((steps[n] + 1 for n in answering if n in steps), default=0)),
        ("cost", spec.budget.cost, min((costs[n] for n in answering if n in costs), default=0)),
    ):
        if limit is not None and needed > limit:
            expected = f"at least {needed:g}, what the nearest answering node takes"
            yield Finding(("budget", key), expected, f"{limit:g}", f"write {needed:g} or more")
