"""Reading JSON lines: one object a line, checked by a pydantic model if there is one; mistakes are told with their line."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from router.errors import DataError, Location
from router.json_text import parse_json

Row = TypeVar("Row", bound=BaseModel)


def read_rows(path: Path, kind: type[Row], form: str) -> Iterator[tuple[Row, Location]]:
    """The rows of a file, each with its place; blank lines are skipped.

    Args:
        form: what a row looks like, for messages: ``{"query": ..., "node": ...}``.

    Raises:
        DataError: the file is missing, not JSON lines, or has a row that is wrong.
    """
    for line, where in read_lines(path, form):
        row = parse_object(line, where, f"an object {form}")
        try:
            yield kind.model_validate(row), where
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(map(str, first["loc"]))
            raise DataError(where, f"an object {form}", f"{at}: {first['msg']}" if at else first["msg"]) from error


def read_lines(path: Path, form: str = "") -> Iterator[tuple[bytes, Location]]:
    """The lines of a file, each with its place; blank ones and a byte order mark at the start are skipped.

    Raises:
        DataError: the file cannot be read.
    """
    with open_lines(path, form) as file:
        yield from lines_of(file, path)


def open_lines(path: Path, form: str = "") -> BinaryIO:
    """Opens a file of JSON lines; raises DataError if that cannot be."""
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(str(path), f"a file of JSON lines {form}".rstrip(), error.strerror or str(error)) from error


def lines_of(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, Location]]:
    """The same of a file that is open, from its beginning; ``path`` is its name."""
    for number, line in enumerate(file, start=1):
        content = line.removeprefix(BOM_UTF8) if number == 1 else line
        if content.strip():
            yield content, Location(str(path), number, 1)


def parse_object(line: bytes, where: Location, expected: str) -> dict[str, Any]:
    """One line as a JSON object; raises DataError, with ``expected`` in its message, if it is none."""
    try:
        text = line.decode("utf-8")
        row = parse_json(text.rstrip())
    except json.JSONDecodeError as error:
        raise DataError(Location(where.file, where.line, error.colno), expected, f"no JSON: {error.msg}") from error
    except UnicodeError as error:
        raise DataError(where, "UTF-8", str(error)) from error
    except (RecursionError, ValueError) as error:
        raise DataError(where, expected, str(error)) from error
    if not isinstance(row, dict):
        raise DataError(where, expected, text.strip()[:60])
    return row
