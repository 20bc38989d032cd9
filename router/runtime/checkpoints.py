"""Conversations and half-finished runs in an SQLite file, by thread id."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from router.errors import RunError

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver


@asynccontextmanager
async def open_checkpoints(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    """LangGraph's saver on that file, which is made if it is missing.

    Opened per run: a saver belongs to one event loop, a Router to none. It reads plain data and messages only.

    Raises:
        RunError: the file cannot be opened, or is no SQLite file.
    """
    import aiosqlite
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = await aiosqlite.connect(path)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
    saver = AsyncSqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    try:
        try:
            await saver.setup()
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        yield saver
    finally:
        # A run that fails leaves writes behind that still go on. A connection that is closed between a statement and its
        # commit keeps the file locked for as long as somebody holds the statement's cursor.
        async with saver.lock:
            await connection.close()


def _unusable(path: Path, error: Exception) -> RunError:
    return RunError(f"expected an SQLite file for checkpoints at {path}, found: {error}. Name another file")
