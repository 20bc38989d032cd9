"""Read-only SQL over files that the spec names; the model never names a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, FilePath

from router.tools.builtins.tables import Rows, opened
from router.tools.function import FunctionTool, tool
from router.tools.signature import Setting

File = Annotated[FilePath, AfterValidator(Path.absolute)]


@tool
def sql(
    query: str,
    *,
    files: Annotated[tuple[File, ...], Setting()],
    rows: Annotated[int, Field(ge=1, le=10_000), Setting()] = 50,
    seconds: Annotated[float, Field(gt=0), Setting()] = 5.0,
) -> str:
    """Answers one SELECT over tables.

    A single value comes alone; otherwise a line with the names of the columns comes first.

    Raises:
        ToolFailed: it is no SELECT, is wrong, or takes too long.
    """
    with opened(files) as database:
        return _written(database.select(query, rows, seconds))


def sql_over(files: Sequence[Path], *, name: str = "sql", **settings: Any) -> FunctionTool:
    """The SQL tool for some files; its description names their tables and columns.

    Args:
        files: CSV files, or one SQLite or DuckDB database.
        name: the tool's name.
        settings: ``rows``, the most of a result, and ``seconds``, the longest that a query may run.

    Raises:
        ToolDefinitionError: a file is not there or not of these kinds.
        DataError: a file is damaged.
    """
    configured = sql.configured({"files": [str(file) for file in files], **settings})
    with opened([Path(file) for file in configured.settings["files"]]) as database:
        description = f"{sql.description} {database.described()}"
    late = 5.0  # a query stops by itself; should it not, its process is killed
    return replace(
        configured, name=name, description=description, seconds=configured.settings.get("seconds", 5.0) + late
    )


def _written(found: Rows) -> str:
    if len(found.columns) == 1 and len(found.rows) == 1 and not found.more:
        return _value(found.rows[0][0])
    lines = [" | ".join(found.columns), *(" | ".join(map(_value, row)) for row in found.rows)]
    return "\n".join([*lines, *(["... (more rows)"] if found.more else [])])


def _value(value: object) -> str:
    return "null" if value is None else value.hex() if isinstance(value, bytes) else str(value)
