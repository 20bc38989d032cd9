"""``tokengraph route``: which node would answer, for one query or a file of them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rich.table import Table
from rich.text import Text

from router.console.answer import Progress
from router.console.batch import bar
from router.console.graphs import graph_path
from router.console.query import read_query
from router.console.terminal import console, note, one_line, write_json
from router.errors import GraphError
from router.functional.decision import Choice, Decision
from router.runtime.queries_file import Queries, QueryLine, open_queries
from router.runtime.router import Router
from router.spec import GraphSpec, RouterNode, load_spec

_TOGETHER = 256
_ROWS = 20


def route_query(text: str, graph: Path | None, tokens: Path | None, *, as_json: bool) -> None:
    """Shows the alternatives for one query, most probable first."""
    text = read_query(text)
    decision = asyncio.run(_decided(_router(graph, tokens), text))
    if as_json:
        asked = decision.queries[0] if decision.queries else None
        write_json({"query": text, **decision_json(decision), "reformulated": asked})
    else:
        _show(decision, text)


def route_file(queries: Path, out: Path, graph: Path | None, tokens: Path | None) -> None:
    """Routes a file of queries; the file of decisions appears when it is complete."""
    with open_queries(queries) as asked:
        router = _router(graph, tokens)
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            with unfinished.open("w", encoding="utf-8", errors="replace") as file:
                asyncio.run(_routed(router, asked, file))
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    note(f"{len(asked.ids):,} decisions in {out}")


def with_tokens(spec: GraphSpec, tokens: Path | None) -> GraphSpec:
    """The spec with another tokens folder in its entry router.

    Raises:
        GraphError: the entry is no router.
    """
    if tokens is None:
        return spec
    entry = spec.nodes[spec.entry]
    if not isinstance(entry, RouterNode):
        raise GraphError(f"expected a router as the entry {spec.entry} to use {tokens}, found kind {entry.kind}")
    changed = entry.model_copy(update={"tokens": tokens.absolute()})
    return spec.model_copy(update={"nodes": {**spec.nodes, spec.entry: changed}})


def decision_json(decision: Decision) -> dict[str, Any]:
    """A decision as plain data; ``node`` is null if the router abstained."""
    outcome = _outcome(decision)
    alternatives = [{"node": choice.node, "probability": choice.probability} for choice in decision.alternatives]
    return {"node": outcome.node, "probability": outcome.probability, "alternatives": alternatives}


def _outcome(decision: Decision) -> Choice:
    nobody = (choice for choice in decision.alternatives if choice.node is None)
    return decision.chosen[0] if decision.chosen else next(nobody, Choice(None, "", 0.0))


def _router(graph: Path | None, tokens: Path | None) -> Router:
    return Router(with_tokens(load_spec(graph_path(graph)), tokens))


async def _decided(router: Router, text: str) -> Decision:
    with Progress():
        async with router:
            return await router.aroute(text)


async def _routed(router: Router, queries: Queries, file: TextIO) -> None:
    async with router:
        with bar("routing") as (progress, task):
            progress.update(task, total=len(queries.ids))
            for lines in _groups(iter(queries)):
                decisions = await router.aroute_many([line.query for line in lines])
                for line, decision in zip(lines, decisions, strict=True):
                    file.write(json.dumps({"id": line.id, **decision_json(decision)}, ensure_ascii=False) + "\n")
                progress.advance(task, len(lines))


def _groups(lines: Iterator[QueryLine]) -> Iterator[Sequence[QueryLine]]:
    while group := list(islice(lines, _TOGETHER)):
        yield group


def _show(decision: Decision, query: str) -> None:
    out = console()
    table = Table(box=None, pad_edge=False)
    for name in ("", "node", "token"):
        table.add_column(name)
    table.add_column("probability", justify="right")
    table.add_column("")
    outcome = _outcome(decision)
    for choice in decision.alternatives[:_ROWS]:
        chosen = choice in decision.chosen or (choice.node is None and outcome.node is None)
        table.add_row(
            "→" if chosen else "", Text(choice.node or "none of them", "bold green" if chosen else ""),
            Text(choice.token, "dim"), f"{choice.probability:.1%}", Text("█" * round(20 * choice.probability), "blue"),
        )  # fmt: skip
    out.print(table)
    if len(decision.alternatives) > _ROWS:
        out.print(f"and {len(decision.alternatives) - _ROWS} more", style="dim")
    if not decision.chosen:
        out.print("It abstains: none of the nodes is probable enough.", style="yellow")
    for asked in decision.queries:
        if asked != query:
            out.print(Text.assemble(("asks ", "dim"), one_line(asked)), soft_wrap=True)
