"""SQL over a SQLite database that cannot be written: opened read-only, and each statement is looked at as it is read."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from router.errors import DataError
from router.tools.builtins.tables import Rows
from router.tools.errors import ToolFailed
from router.tools.processes import in_tool_process

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 10_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
}
_MEMORY = 256 * 2**20
_STEPS_BETWEEN_LOOKS = 10_000


class SqliteDatabase:
    """Answers one SELECT at a time over a connection, which it closes to everything else."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tables = _tables(connection)
        for setting in ("query_only=ON", "trusted_schema=OFF", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {setting}")
        if in_tool_process():  # elsewhere not ours to set: it holds for all connections of a process
            connection.execute(f"PRAGMA hard_heap_limit={_MEMORY}")
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_authorizer(_authorised)

    def select(self, sql: str, most: int, seconds: float) -> Rows:
        stop = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > stop, _STEPS_BETWEEN_LOOKS)
        try:
            with closing(self._connection.execute(sql)) as cursor:
                if cursor.description is None:
                    raise ToolFailed("expected a SELECT, found a statement without rows")
                rows = cursor.fetchmany(most + 1)
                return Rows(tuple(column[0] for column in cursor.description), rows[:most], len(rows) > most)
        except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError) as problem:
            raise ToolFailed(self._reason(problem, seconds)) from problem

    def described(self) -> str:
        return "; ".join(
            f"{table}({', '.join(' '.join(column).strip() for column in columns)})"
            for table, columns in self._tables.items()
        )

    def _reason(self, problem: Exception, seconds: float) -> str:
        match getattr(problem, "sqlite_errorcode", None):
            case sqlite3.SQLITE_INTERRUPT:
                return f"expected a query that ends within {seconds:g} s, found a longer one"
            case sqlite3.SQLITE_AUTH:
                return "expected a SELECT, found a statement that does more; this database is read-only"
        found = str(problem) or "a result too big for memory"
        return f"expected SQL that SQLite runs, found: {found}. {self.described()}"


@contextmanager
def open_sqlite(file: Path) -> Iterator[SqliteDatabase]:
    """Opens a database file read-only.

    Raises:
        DataError: it is no SQLite database.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
            yield SqliteDatabase(connection)
    except sqlite3.Error as problem:
        raise DataError(str(file), "a SQLite database", str(problem)) from problem


def _authorised(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _tables(connection: sqlite3.Connection) -> dict[str, list[tuple[str, str]]]:
    """The columns and their types of each table and view."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in connection.execute(
        "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c "
        "WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY m.name, c.cid"
    ):
        found.setdefault(table, []).append((column, kind))
    return found
