"""What tools are worth that come by their name and description alone, as a user adds them: a table for the scores of the
pocket model that uses tools.

The bundled model never met `router.evals.added_tools`. Its arithmetic node is asked as it is, and once more when it offers
these as well. Their questions are by a writer who saw names and descriptions only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from experts.pocket.tools.corpus import ToolExample
from router.evals.pocket import percent
from router.evals.report import Table
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.spec import GraphSpec, load_spec
from router.spec.models import ExpertNode
from router.spec.tools import FunctionTools
from router.trace import Answered
from router.types import NodeId

ADDED = ("hypotenuse", "cube_root", "percent_change", "circle_area", "body_mass_index")
FOLDER = Path(__file__).parent / "data"
_NODE = NodeId("arithmetic")
_OTHERS = "the node's own tools"


async def later_tools_table(spec: Path, own: Sequence[ToolExample]) -> Table:
    """How often the right tool is called first, before and after tools are added.

    Args:
        spec: graph_specs/pocket_tools.yaml.
        own: questions for the node's own tools.
    """
    lines = [json.loads(line) for line in (FOLDER / "later_tools.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [(line["query"], line["tool"]) for line in lines] + [(e.question, e.problem.tool) for e in own]
    found = [await _first_calls(spec, added, [query for query, _ in asked]) for added in ((), ADDED)]
    kinds = [tool if tool in ADDED else _OTHERS for _, tool in asked]

    def row(name: str, members: Sequence[str]) -> tuple[str | float, ...]:
        shares = [
            percent(
                [call == tool for call, (_, tool), kind in zip(calls, asked, kinds, strict=True) if kind in members]
            )
            for calls in found
        ]
        return (name, *shares)

    return Table(
        "Tools added by name and description alone: the right tool is called first, percent",
        ("questions for", "before they are added", "after"),
        (*(row(name, (name,)) for name in ADDED), row("the five together", ADDED), row(_OTHERS, (_OTHERS,))),
        "Zero examples of each, 40 questions.",
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


async def _first_calls(spec: Path, added: Sequence[str], queries: Sequence[str]) -> list[str | None]:
    """The tool that each question calls first."""
    async with Router(_alone(spec, added)) as router:
        results = await router.abatch(queries, concurrency=4)
    return [_first_call(result) if isinstance(result, RunResult) else None for result in results]


def _first_call(result: RunResult) -> str | None:
    calls = (call.tool for event in result.events if isinstance(event, Answered) for call in event.calls)
    return next(calls, None)
