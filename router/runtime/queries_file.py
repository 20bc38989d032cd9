"""Files of queries: JSON lines of ``{"id", "query"}``, checked as a whole before anything runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from experts.engines.requests import Message
from router.errors import DataError, Location
from router.json_lines import lines_of, open_lines, parse_object
from router.runtime.router import Query

QueryId = str | int | float

_IN_MEMORY = 16 << 20  # bytes of a pipe; more is on the disk
_ROLES = ("system", "user", "assistant")
_MESSAGES = 'text as query, or messages {"role": "system|user|assistant", "content": text} that end with the user\'s'


@dataclass(frozen=True)
class QueryLine:
    """One line of a file of queries."""

    id: QueryId
    query: Query
    where: Location


class Queries:
    """The lines of an open file of queries; blank ones are skipped, keys besides ``id`` and ``query`` ignored.

    Attributes:
        ids: of all queries.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self.ids = self._checked()

    def __iter__(self) -> Iterator[QueryLine]:
        """Goes through the file from its beginning; one at a time may do so."""
        self._file.seek(0)
        for line, where in lines_of(self._file, self._path):
            yield _query_line(line, where)

    def _checked(self) -> Set[QueryId]:
        ids: set[QueryId] = set()
        for line in self:
            if line.id in ids:
                raise DataError(line.where, "an id of its own for each query", f"{json.dumps(line.id)} a second time")
            ids.add(line.id)
        return ids


@contextmanager
def open_queries(path: Path) -> Iterator[Queries]:
    """Opens a file of queries and checks all of it. A pipe is read to its end first: it can be read only once.

    Raises:
        DataError: the file cannot be read, a line is wrong, or two have one id.
    """
    with open_lines(path) as file:
        if file.seekable():
            yield Queries(file, path)
            return
        with SpooledTemporaryFile(_IN_MEMORY) as copy:
            copyfileobj(file, copy)
            yield Queries(cast(BinaryIO, copy), path)


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
