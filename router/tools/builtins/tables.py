"""What the SQL tool reads from: the files that the spec names, opened so that no statement can write or name others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from router.tools.errors import ToolDefinitionError

_TEXT = {".csv", ".tsv"}
_SQLITE = {".db", ".sqlite", ".sqlite3"}
_DUCKDB = {".duckdb"}


@dataclass(frozen=True)
class Rows:
    """The first rows of a result; ``more`` if there are others."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    more: bool


class Database(Protocol):
    """Something that answers SQL."""

    def select(self, sql: str, most: int, seconds: float) -> Rows:
        """The first ``most`` rows of one SELECT.

        Raises:
            ToolFailed: it is none, is wrong, or takes longer than that.
        """

    def described(self) -> str:
        """``table(column TYPE, ...)`` for each table."""


@contextmanager
def opened(files: Sequence[Path]) -> Iterator[Database]:
    """Opens one database, or some CSV files as one.

    Raises:
        ToolDefinitionError: the files are not of these kinds, or several databases.
        DataError: a file is damaged.
    """
    kinds = {file.suffix.lower() for file in files}
    if files and kinds <= _TEXT:
        from router.tools.builtins.csv_tables import open_csv

        with open_csv(files) as database:
            yield database
    elif len(files) == 1 and kinds <= _SQLITE:
        from router.tools.builtins.sqlite import open_sqlite

        with open_sqlite(files[0]) as database:
            yield database
    elif len(files) == 1 and kinds <= _DUCKDB:
        from router.tools.builtins.duck import open_duckdb

        with open_duckdb(files[0]) as database:
            yield database
    else:
        raise ToolDefinitionError(
            f"expected CSV files ({', '.join(sorted(_TEXT))}) or one database ({', '.join(sorted(_SQLITE | _DUCKDB))}), "
            f"found {', '.join(file.name for file in files) or 'none'}"
        )
