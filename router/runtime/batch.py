"""Answers a file of queries into a file of answers.

The file of answers is its own journal. An answer is one line, appended when it is there; a process that is killed
leaves at most one line without its end, and the next one cuts that off and goes on with the ids that are missing.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from router.errors import CheckpointError, DataError, GraphError, Location, RunError, TokengraphError, TokenHeadError
from router.json_lines import parse_object
from router.runtime.queries_file import QueryId, QueryLine, open_queries, parse_id
from router.runtime.router import Router

_OF_THE_GRAPH = (CheckpointError, GraphError, TokenHeadError)
"""Errors that every further query would run into like the first."""
_BEGIN = b'{"id": '
_LINE = "a line of an earlier run of this batch"


@dataclass(frozen=True)
class BatchCount:
    """How far a batch is. ``done`` counts answers and failures, those of earlier runs (``earlier``) included."""

    total: int
    done: int
    failed: int
    earlier: int


async def run_batch(
    router: Router, queries: Path, out: Path, *, concurrency: int = 32,
    progress: Callable[[BatchCount], None] | None = None,
) -> BatchCount:  # fmt: skip
    """Answers the queries that ``out`` has no line for yet.

    A line of ``out`` is ``{"id", "answer", "route", "usage"}``, or ``{"id", "error"}`` for a query that failed; to try
    that again, remove its line. In memory are the ids, and as many queries and answers as run at the same time.

    Args:
        queries: JSON lines of ``{"id", "query"}``; an id is text or a number, a query text or a list of messages.
        concurrency: how many queries run at the same time.
        progress: told the count at the start and after each answer.

    Raises:
        DataError: a line of ``queries`` is wrong, or a line of ``out`` is no answer; nothing has run then.
        RunError: another batch is writing ``out``.
        GraphError, TokenHeadError, CheckpointError: the graph cannot run; what was answered stays.
    """
    report = progress or (lambda _: None)
    with open_queries(queries) as asked, _opened(out) as file:
        earlier, failures = _earlier(file, out)
        known = len(asked.ids & earlier)
        count = BatchCount(total=len(asked.ids), done=known, failed=len(asked.ids & failures), earlier=known)
        report(count)
        waiting = (line for line in asked if line.id not in earlier)

        async def work() -> None:
            nonlocal count
            for line in waiting:
                record = await _answer(router, line)
                file.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
                file.flush()
                count = replace(count, done=count.done + 1, failed=count.failed + ("error" in record))
                report(count)

        workers = [asyncio.ensure_future(work()) for _ in range(min(concurrency, count.total - known))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return count


async def _answer(router: Router, line: QueryLine) -> dict[str, Any]:
    try:
        result = await router.arun(line.query)
    except _OF_THE_GRAPH:
        raise
    except TokengraphError as error:
        return {"id": line.id, "error": str(error) or type(error).__name__}
    route = [pick.model_dump() for pick in result.route]
    return {"id": line.id, "answer": result.answer, "route": route, "usage": asdict(result.usage)}


@contextmanager
def _opened(out: Path) -> Iterator[BinaryIO]:
    """The file of answers, made if it is missing, and held against other processes until its end."""
    import fcntl

    out.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(out, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666), "r+b") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DataError(str(out), "a regular file for the answers", "something else")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"{out}: expected a file that no other batch is writing, found one at work. Wait for it, or write to "
                "another file"
            ) from error
        yield file


def _earlier(file: BinaryIO, out: Path) -> tuple[set[QueryId], set[QueryId]]:
    """The ids that have a line already, and those of them that failed; a line without its end is cut off."""
    ids: set[QueryId] = set()
    failures: set[QueryId] = set()
    end, last = 0, b"\n"
    for number, last in enumerate(file, start=1):
        where = Location(str(out), number, 1)
        if not last.endswith(b"\n") and _torn(last, where):
            file.truncate(end)
            last = b"\n"
            break
        row = parse_object(last, where, _LINE)
        if "id" not in row or not ("answer" in row or "error" in row):
            raise DataError(where, _LINE, f"{last.decode().strip()[:60]}. Write elsewhere")
        ids.add(parse_id(row["id"], where))
        if "error" in row:
            failures.add(row["id"])
        end += len(last)
    file.seek(0, os.SEEK_END)
    if not last.endswith(b"\n"):
        file.write(b"\n")
    return ids, failures


def _torn(line: bytes, where: Location) -> bool:
    """Whether a last line is the beginning of one of ours. Anything else is not ours to cut off."""
    try:
        parse_object(line, where, _LINE)
    except DataError:
        return line[: len(_BEGIN)] == _BEGIN[: len(line)]
    return False
