"""Files of queries: JSON lines of ``{"id", "query"}``, checked as a whole before anything runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experts.engines.requests import Message
from router.errors import DataError, Location
from router.runtime.router import Query

QueryId = str | int | float

_ROLES = ("system", "user", "assistant")
_MESSAGES = 'text as query, or messages {"role": "system|user|assistant", "content": text} that end with the user\'s'


@dataclass(frozen=True)
class QueryLine:
    """One line of a file of queries."""

    id: QueryId
    query: Query
    where: Location


def read_queries(path: Path) -> Iterator[QueryLine]:
    """The lines of a file of queries; blank ones are skipped, keys besides ``id`` and ``query`` ignored.

    Raises:
        DataError: the file cannot be read, or a line is wrong.
    """
    try:
        lines = path.open("rb")
    except OSError as error:
        raise DataError(str(path), "a file of JSON lines", error.strerror or str(error)) from error
    with lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _query_line(line, Location(str(path), number, 1))


def check_queries(path: Path) -> set[QueryId]:
    """Reads a whole file of queries and returns their ids.

    Raises:
        DataError: the file cannot be read, a line is wrong, or two have one id.
    """
    ids: set[QueryId] = set()
    for line in read_queries(path):
        if line.id in ids:
            raise DataError(line.where, "an id of its own for each query", f"{json.dumps(line.id)} a second time")
        ids.add(line.id)
    return ids


def parse_object(line: bytes, where: Location, expected: str) -> dict[str, Any]:
    """One line as a JSON object; raises DataError, with ``expected`` in its message, if it is none."""
    try:
        text = line.decode("utf-8")
        row = json.loads(text.rstrip())
        json.dumps(row, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is JSON, but no text
    except json.JSONDecodeError as error:
        raise DataError(Location(where.file, where.line, error.colno), expected, error.msg) from error
    except UnicodeError as error:
        raise DataError(where, "UTF-8", str(error)) from error
    except (RecursionError, ValueError) as error:
        raise DataError(where, expected, str(error)) from error
    if not isinstance(row, dict):
        raise DataError(where, expected, text.strip()[:60])
    return row


def parse_id(value: object, where: Location) -> QueryId:
    """An id: text or a finite number; raises DataError for anything else."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise DataError(where, "text or a number as id", json.dumps(value)[:60])


def _query_line(line: bytes, where: Location) -> QueryLine:
    row = parse_object(line, where, 'an object {"id": ..., "query": ...}')
    for key in ("id", "query"):
        if key not in row:
            raise DataError(where, f"the key {key!r}", f"the keys {', '.join(map(repr, row)) or 'none'}")
    return QueryLine(parse_id(row["id"], where), _query(row["query"], where), where)


def _query(value: object, where: Location) -> Query:
    if isinstance(value, str):
        return value
    turns = value if isinstance(value, list) else []
    messages = tuple(
        Message(turn["role"], turn["content"])
        for turn in turns
        if isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("content"), str)
    )
    if not messages or len(messages) < len(turns) or messages[-1].role != "user":
        raise DataError(where, _MESSAGES, json.dumps(value, ensure_ascii=False)[:60])
    return messages
