"""``tokengraph query``."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from router.console.answer import Progress, write_run
from router.console.graphs import graph_path
from router.console.terminal import console, write_answer, write_json
from router.console.trace_tree import trace_tree
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.spec import GraphSpec


def query(
    text: str, graph: Path | None, *, as_json: bool, trace: bool, thread_id: str | None, checkpoints: Path | None,
    resume: bool,
) -> None:  # fmt: skip
    """Answers one query, or finishes the interrupted run of a thread."""
    router = Router.from_file(graph_path(graph), checkpoints=checkpoints)
    result = asyncio.run(_answered(router, read_query(text), as_json, thread_id, resume))
    if trace:
        show_trace(result, router.spec)


async def _answered(router: Router, text: str, as_json: bool, thread_id: str | None, resume: bool) -> RunResult:
    async with router:
        if not as_json and not resume:
            return await write_run(router, text, thread_id=thread_id)
        with Progress():
            if resume and thread_id is not None:
                result = await router.aresume(thread_id)
            else:
                result = await router.arun(text, thread_id=thread_id)
        if as_json:
            write_json(result_json(result))
        else:
            write_answer(f"{result.answer}\n")
        return result


def read_query(text: str) -> str:
    """The query; ``-`` is standard input. Bytes that are no text become U+FFFD."""
    if text == "-":
        text = sys.stdin.read().strip()
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def result_json(result: RunResult) -> dict[str, Any]:
    """A result as plain data."""
    return {
        "query": result.query,
        "answer": result.answer,
        "abstained": result.abstained,
        "route": [pick.model_dump() for pick in result.route],
        "usage": asdict(result.usage),
        "events": [event.model_dump(mode="json") for event in result.events],
    }


def show_trace(result: RunResult, spec: GraphSpec) -> None:
    """The trace on standard error, so that a pipe gets the answer alone."""
    err = console(stderr=True)
    if sys.stdout.isatty():
        err.print()
    err.print(trace_tree(result, spec))
