"""Which visits a superstep makes.

A node is visited as soon as it is asked, a join when nothing else is left that could lead to it. LangGraph's deferred
nodes wait until everything else has come to rest, and then all run at once; of several joins that are due at once,
those that another one may still lead to wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from router.runtime.work import Task, task_order
from router.spec.models import GraphSpec, JoinNode

if TYPE_CHECKING:
    from router.graph import Graph


class Schedule:
    """The order of a graph's visits."""

    def __init__(self, graph: Graph) -> None:
        spec: GraphSpec = graph.graph["spec"]
        self._waits_for = _waits_for(graph, [name for name, node in spec.nodes.items() if isinstance(node, JoinNode)])

    def visits(self, inbox: Mapping[str, Task]) -> list[Sequence[Task]]:
        """The tasks of each visit that is due, in the order of the branches."""
        tasks = sorted(inbox.values(), key=task_order)
        if single := [[task] for task in tasks if task["node"] not in self._waits_for]:
            return [*single]
        pending = {task["node"] for task in tasks}
        due = [join for join, others in self._waits_for.items() if join in pending and not others & pending]
        return [[task for task in tasks if task["node"] == join] for join in due]


def _waits_for(graph: Graph, joins: Sequence[str]) -> dict[str, frozenset[str]]:
    """For each join those that go first; of joins that lead to each other the first in the spec, so one always can."""
    import networkx as nx

    leads_to = {join: nx.descendants(graph, join) for join in joins}
    return {
        join: frozenset(
            other
            for place, other in enumerate(joins)
            if other != join and join in leads_to[other] and (other not in leads_to[join] or place < joins.index(join))
        )
        for join in joins
    }
