"""``tokengraph graph``: validate, show, draw, schema."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rich.text import Text

from router.console.graphs import graph_path
from router.console.terminal import console, note, printable, write_answer, write_json
from router.errors import DataError
from router.spec import GraphSpec, json_schema, load_spec
from router.spec.tools import BuiltinTools, FunctionTools, McpTools, ToolSource, names_of
from router.types import WorkerId


def validate(path: Path | None) -> None:
    """Says that a graph is valid; raises SpecError with all that is wrong with it."""
    path = graph_path(path)
    console().print(f"{path}: ok, {_counts(load_spec(path, thorough=True))}", soft_wrap=True)


def show(path: Path | None) -> None:
    """The graph as a tree, its workers, its budget, and what reaching a node costs."""
    from router.graph import build_graph, cheapest_costs, tree, worst_costs

    path = graph_path(path)
    spec = load_spec(path)
    graph = build_graph(spec)
    out = console()
    out.print(Text.assemble((spec.name, "bold"), f"  {_counts(spec)}  ", (str(path), "dim")), soft_wrap=True)
    if spec.description:
        out.print(printable(spec.description), style="dim")
    out.print(tree(graph))
    _section("workers", {name: _worker(spec, name) for name in spec.workers})
    _section("tools", dict(map(_tools, spec.tools)))
    if any(edge.cost for edge in spec.edges):
        least, most = cheapest_costs(graph), worst_costs(graph)
        _section(
            "cost to reach a node",
            {n: f"{least[n]:g}" if least[n] == most[n] else f"{least[n]:g} to {most[n]:g}" for n in least},
        )
    budget = {name: f"{limit:g}" for name, limit in spec.budget.model_dump(exclude_none=True).items()}
    _section("budget of a run", budget)


def draw(path: Path | None, form: Literal["mermaid", "svg"] | None, out: Path | None) -> None:
    """The graph as Mermaid text or as SVG, on standard output or in a file."""
    from router.graph import build_graph, mermaid, svg

    graph = build_graph(load_spec(graph_path(path)))
    form = form or _form(out)
    text = svg(graph) if form == "svg" else mermaid(graph)
    if out is None:
        write_answer(text if text.endswith("\n") else f"{text}\n")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    note(f"{form} in {out}")


def _form(out: Path | None) -> Literal["mermaid", "svg"]:
    """The form that a file's name asks for."""
    suffix = ".mmd" if out is None else out.suffix.lower()
    if suffix in (".mmd", ".mermaid", ".txt"):
        return "mermaid"
    if suffix != ".svg":
        raise DataError("--out", "a name that ends in .svg, .mmd, .mermaid or .txt, or --format beside it", str(out))
    return "svg"


def schema() -> None:
    """The JSON Schema of graph specs."""
    write_json(json_schema())


def _counts(spec: GraphSpec) -> str:
    counts = {"node": len(spec.nodes), "edge": len(spec.edges), "worker": len(spec.workers)}
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())


def _worker(spec: GraphSpec, name: WorkerId) -> str:
    """A worker's engine and model, and how many nodes share it."""
    worker = spec.workers[name]
    keys = ("worker", "small", "large")
    users = sum(name in (getattr(node, key, None) for key in keys) for node in spec.nodes.values())
    source = getattr(worker, "model", None) or getattr(worker, "file", "")
    return f"{worker.engine} {source}".strip() + ("" if users == 1 else f" ({users} nodes)")


def _tools(source: ToolSource) -> tuple[str, str]:
    """Where tools come from, and which they are."""
    names = ", ".join(names_of(source) or ["what it has"])
    match source:
        case BuiltinTools():
            return source.builtin, names
        case FunctionTools():
            return source.function, names
        case McpTools(mcp=server):
            return server.url or shlex.join(server.command or ()), names


def _section(title: str, rows: Mapping[str, str]) -> None:
    if not rows:
        return
    out = console()
    out.print(f"\n{title}", style="bold")
    width = max(map(len, rows))
    for name, text in rows.items():
        out.print(Text.assemble(f"  {name:<{width}}  ", (printable(text), "dim")), soft_wrap=True)
