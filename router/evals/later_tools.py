"""What tools are worth that come by their name and description alone, as a user adds them: a table for the scores of the
pocket model that uses tools.

The bundled model never met `router.evals.added_tools`. Its arithmetic node is asked as it is, and once more when it offers
these as well. Their questions are by a writer who saw names and descriptions only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from experts.pocket.tools.corpus import ToolExample
from router.evals.pocket import percent
from router.evals.report import Table
from router.evals.tool_calls import first_call
from router.runtime.router import Router
from router.spec import GraphSpec, load_spec
from router.spec.models import ExpertNode
from router.spec.tools import FunctionTools
from router.types import NodeId

FOLDER = Path(__file__).parent / "data"
_NODE = NodeId("arithmetic")


async def later_tools_table(spec: Path, own: Sequence[ToolExample]) -> Table:
    """How often the right tool is called first, before and after tools are added.

    Args:
        spec: graph_specs/pocket_tools.yaml.
        own: questions for the node's own tools.
    """
    lines = [json.loads(line) for line in (FOLDER / "later_tools.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [(line["query"], line["tool"]) for line in lines] + [(e.question, e.problem.tool) for e in own]
    added = tuple(dict.fromkeys(line["tool"] for line in lines))
    found = [await _first_calls(_alone(spec, tools), [query for query, _ in asked]) for tools in ((), added)]

    def row(name: str, tools: Collection[str]) -> tuple[str | float, ...]:
        shares = [
            percent([call == tool for call, (_, tool) in zip(calls, asked, strict=True) if tool in tools])
            for calls in found
        ]
        return (name, *shares)

    return Table(
        "Tools added by name and description alone: the right tool is called first, percent",
        ("questions for", "before they are added", "after"),
        (
            *(row(name, (name,)) for name in added),
            row("all that were added", added),
            row("the node's own tools", {example.problem.tool for example in own}),
        ),
        f"{len(lines)} questions for tools of which the model has no example, {len(own)} for those that it was trained with.",
    )


def _alone(spec: Path, added: Sequence[str]) -> GraphSpec:
    """The graph of the arithmetic node alone, with added tools."""
    graph = load_spec(spec)
    node = graph.nodes[_NODE]
    assert isinstance(node, ExpertNode), "the graph's arithmetic node is an expert"
    functions = tuple(FunctionTools(function=f"router.evals.added_tools:{name}") for name in added)
    node = node.model_copy(update={"tools": (*node.tools, *added)})
    return graph.model_copy(
        update={"entry": _NODE, "nodes": {_NODE: node}, "edges": (), "tools": (*graph.tools, *functions)}
    )


async def _first_calls(graph: GraphSpec, queries: Sequence[str]) -> list[str | None]:
    async with Router(graph) as router:
        return [first_call(result) for result in await router.abatch(queries, concurrency=4)]
