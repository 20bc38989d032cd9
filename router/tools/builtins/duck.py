"""SQL over a DuckDB database that cannot be written, by a DuckDB that may open nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from router.errors import DataError
from router.tools.builtins.tables import Rows
from router.tools.errors import ToolDefinitionError, ToolFailed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MAX_CHARACTERS = 10_000
_CLOSED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": "512MB",
    "max_temp_directory_size": "0MB",
    "threads": "1",
    "lock_configuration": "true",
}


class DuckDatabase:
    """Answers one SELECT at a time."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection

    def select(self, sql: str, most: int, seconds: float) -> Rows:
        import duckdb

        if len(sql) > _MAX_CHARACTERS:
            raise ToolFailed(f"expected at most {_MAX_CHARACTERS} characters of SQL, found {len(sql)}")
        timer = Timer(seconds, self._connection.interrupt)
        try:
            statements = self._connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise ToolFailed("expected one SELECT, found something else; this database is read-only")
            timer.start()
            self._connection.execute(statements[0])
            rows = self._connection.fetchmany(most + 1)
            return Rows(tuple(column[0] for column in self._connection.description), rows[:most], len(rows) > most)
        except duckdb.InterruptException as problem:
            raise ToolFailed(f"expected a query that ends within {seconds:g} s, found a longer one") from problem
        except duckdb.Error as problem:
            raise ToolFailed(f"expected SQL that DuckDB runs, found: {problem}. {self.described()}") from problem
        finally:
            timer.cancel()

    def described(self) -> str:
        tables: dict[str, list[str]] = {}
        for table, column, kind in self._connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns ORDER BY table_name, ordinal_position"
        ).fetchall():
            tables.setdefault(table, []).append(f"{column} {kind}")
        return "; ".join(f"{table}({', '.join(columns)})" for table, columns in tables.items())


@contextmanager
def open_duckdb(file: Path) -> Iterator[DuckDatabase]:
    """Opens a database file read-only.

    Raises:
        ToolDefinitionError: DuckDB is not installed.
        DataError: it is no DuckDB database.
    """
    try:
        import duckdb
    except ImportError as problem:
        raise ToolDefinitionError(
            "expected DuckDB for a .duckdb file, found none; run `pip install duckdb`"
        ) from problem
    try:
        connection = duckdb.connect(str(file), read_only=True, config=dict(_CLOSED))
    except duckdb.Error as problem:
        raise DataError(str(file), "a DuckDB database", str(problem)) from problem
    with closing(connection):
        yield DuckDatabase(connection)
