"""Reading JSON lines: one object a line, each checked by a pydantic model; mistakes are told with their line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from router.errors import DataError, Location

Row = TypeVar("Row", bound=BaseModel)


def read_rows(path: Path, kind: type[Row], form: str) -> Iterator[tuple[Row, Location]]:
    """The rows of a file, each with its place; blank lines are skipped.

    Args:
        form: what a row looks like, for messages: ``{"query": ..., "node": ...}``.

    Raises:
        DataError: the file is missing, not JSON lines, or has a row that is wrong.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(str(path), f"a file of JSON lines {form}", error.strerror or "none") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = Location(str(path), number, 1)
            yield _row(line, kind, form, where), where


def _row(line: bytes, kind: type[Row], form: str, where: Location) -> Row:
    try:
        return kind.model_validate(json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise DataError(where, "UTF-8", f"byte {line[error.start]:#04x}") from error
    except json.JSONDecodeError as error:
        raise DataError(Location(where.file, where.line, error.colno), "a JSON object", error.msg) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"]))
        raise DataError(where, f"an object {form}", f"{at}: {first['msg']}" if at else first["msg"]) from error
