"""The SQLite file that keeps what API keys have used; several servers may share it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from router.errors import DataError

_LAYOUT = "CREATE TABLE spending (key TEXT PRIMARY KEY, tokens INTEGER NOT NULL CHECK (typeof(tokens) = 'integer'))"
# A sum that the file makes itself: one made here would undo what another server has added meanwhile.
_ADD = "INSERT INTO spending VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET tokens = tokens + excluded.tokens"


class SpendingFile:
    """Tokens by the name of the key. Its methods wait for the disk, and may be called in any thread, one at a time.

    Raises:
        DataError: the file cannot be read and written, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except DataError:
            self.close()
            raise

    def add(self, spent: Mapping[str, int]) -> dict[str, int]:
        """Adds to what is there, all or nothing, and returns what every key has used, whoever has added it.

        Raises:
            DataError: the file cannot be read and written just now.
        """
        with self._told(), self._connection:
            if spent:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(_ADD, spent.items())
            return dict(self._connection.execute("SELECT key, tokens FROM spending"))

    def close(self) -> None:
        """Nothing can be added any more."""
        self._connection.close()

    def _prepare(self) -> None:
        """Makes the table in a new file. The lock is that of a writer, so a file that cannot be written is found now."""
        with self._told(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            found = dict(self._connection.execute("SELECT name, sql FROM sqlite_master"))
            if not found:
                self._connection.execute(_LAYOUT)
            elif found.get("spending") != _LAYOUT:
                raise self._wrong("a database of another layout")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise self._wrong(str(error)) from error

    def _wrong(self, found: str) -> DataError:
        expected = "an SQLite file of what API keys have used, or none yet"
        return DataError(str(self._path), expected, f"{found}. Name another file, or mend this one")
