"""``tokengraph query``."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experts.moe.mask import ExpertMask
from router.console.answer import Progress, write_resumed, write_run
from router.console.consent import ask, can_ask, how_to_answer, kept_for_asking, written
from router.console.graphs import graph_path
from router.console.terminal import console, note, write_json
from router.console.trace_tree import trace_tree
from router.runtime.result import RunResult
from router.runtime.router import Router, RunOptions
from router.spec import GraphSpec, load_spec

_ONCE = "query"  # the thread of a run that is kept only as long as the command runs


def query(
    text: str, graph: Path | None, *, as_json: bool, trace: bool, thread_id: str | None, checkpoints: Path | None,
    resume: bool, approve: bool | None = None, expert_mask: str | None = None,
) -> int:  # fmt: skip
    """Answers one query, or finishes the interrupted run of a thread; the exit code is 1 if a call still waits."""
    spec = load_spec(graph_path(graph))
    with kept_for_asking(spec, checkpoints) as kept, asyncio.Runner() as runner:
        router = Router(spec, checkpoints=kept)
        if kept is not checkpoints:
            thread_id = _ONCE
        try:
            if resume and thread_id is not None:
                result = runner.run(_resumed(router, thread_id, approve, as_json))
            else:
                options = RunOptions(authors=trace or as_json, expert_mask=read_mask(expert_mask))
                result = runner.run(_asked(router, read_query(text), thread_id, options, as_json))
            while result.pending is not None and thread_id is not None and can_ask():
                result = runner.run(_resumed(router, thread_id, ask(result.pending), as_json))
        finally:
            runner.run(router.aclose())
    if as_json:
        write_json(result_json(result))
    if trace:
        show_trace(result, spec)
    if result.pending is None or checkpoints is None or thread_id is None:
        return 0
    note(f"A call waits for a yes or a no: {written(result.pending)}")
    note(how_to_answer(graph, checkpoints, thread_id))
    return 1


async def _asked(router: Router, text: str, thread_id: str | None, options: RunOptions, as_json: bool) -> RunResult:
    if not as_json:
        return await write_run(router, text, thread_id=thread_id, options=options)
    with Progress():
        return await router.arun(text, thread_id=thread_id, options=options)


async def _resumed(router: Router, thread_id: str, approve: bool | None, as_json: bool) -> RunResult:
    if not as_json:
        return await write_resumed(router, thread_id, approve=approve)
    with Progress():
        return await router.aresume(thread_id, approve=approve)


def read_query(text: str) -> str:
    """The query; ``-`` is standard input. Bytes that are no text become U+FFFD."""
    if text == "-":
        text = sys.stdin.read().strip()
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_mask(given: str | None) -> str | ExpertMask | None:
    """A mask of experts that was given by its name, or as a file: one that is there, or that is named as files are.

    Raises:
        MaskError: the file is missing, or holds no mask.
    """
    if given is None or not (Path(given).is_file() or "/" in given or given.endswith(".json")):
        return given
    return ExpertMask.load(Path(given))


def result_json(result: RunResult) -> dict[str, Any]:
    """A result as plain data."""
    return {
        "query": result.query,
        "answer": result.answer,
        "abstained": result.abstained,
        "route": [pick.model_dump() for pick in result.route],
        "usage": asdict(result.usage),
        **({} if result.pending is None else {"pending": asdict(result.pending)}),
        "events": [event.model_dump(mode="json") for event in result.events],
    }


def show_trace(result: RunResult, spec: GraphSpec) -> None:
    """The trace on standard error, so that a pipe gets the answer alone."""
    err = console(stderr=True)
    if sys.stdout.isatty():
        err.print()
    err.print(trace_tree(result, spec))
