"""CSV files as tables of a SQLite database in memory, one a file, named as the file is."""

from __future__ import annotations

import csv
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

from router.errors import DataError
from router.tools.builtins.sqlite import SqliteDatabase

_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")  # 00123 is a code, and stays a text
_REAL = re.compile(r"-?\d{1,15}(\.\d{1,30})?([eE][-+]?\d{1,3})?")  # a float holds 15 digits for certain
_SEPARATORS = ",;\t|"


@contextmanager
def open_csv(files: Sequence[Path]) -> Iterator[SqliteDatabase]:
    """Reads the files, and keeps them in memory as long as they do not change.

    Raises:
        DataError: a file is no table.
    """
    yield _loaded(tuple((file, file.stat().st_mtime_ns) for file in files))


@lru_cache(4)
def _loaded(files: tuple[tuple[Path, int], ...]) -> SqliteDatabase:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    for file, _ in files:
        _load(connection, file)
    connection.commit()
    return SqliteDatabase(connection)


def _load(connection: sqlite3.Connection, file: Path) -> None:
    header, rows = _read(file)
    kinds = [_kind([row[position] for row in rows]) for position in range(len(header))]
    table = _quoted(re.sub(r"\W", "_", file.stem))
    columns = ", ".join(f"{_quoted(name)} {kind}" for name, kind in zip(header, kinds, strict=True))
    try:
        connection.execute(f"CREATE TABLE {table} ({columns})")
    except sqlite3.OperationalError as problem:
        raise DataError(str(file), "a file and columns of different names", str(problem)) from problem
    marks = ", ".join("?" * len(header))
    connection.executemany(
        f"INSERT INTO {table} VALUES ({marks})",  # noqa: S608 - the name is quoted
        ([value if value != "" else None for value in row] for row in rows),
    )


def _read(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with closing(file.open(encoding="utf-8-sig", newline="")) as lines:
            first = lines.readline()
            lines.seek(0)
            reader = csv.reader(lines, delimiter=max(_SEPARATORS, key=first.count), strict=True)
            header = [name.strip() or f"column_{number}" for number, name in enumerate(next(reader, []), 1)]
            rows = []
            for row in reader:
                if row and len(row) != len(header):
                    raise DataError(f"{file}:{reader.line_num}", f"{len(header)} values", str(len(row)))
                rows += [row] if row else []
    except (csv.Error, UnicodeDecodeError) as problem:
        raise DataError(str(file), "a CSV file in UTF-8", str(problem)) from problem
    if not header:
        raise DataError(str(file), "a first line with the names of the columns", "none")
    return header, rows


def _kind(values: list[str]) -> str:
    given = [value for value in values if value != ""]
    for kind, pattern in (("INTEGER", _INTEGER), ("REAL", _REAL)):
        if given and all(pattern.fullmatch(value) for value in given):
            leading_zero = any(re.match(r"-?0\d", value) for value in given)
            return "TEXT" if leading_zero else kind
    return "TEXT"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
