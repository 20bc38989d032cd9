"""The part of a graph spec that brings tools: what models and tool nodes may call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

_Seconds = Annotated[float, Field(gt=0)]
_Positive = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BuiltinTools(_Strict):
    """Tools that come with tokengraph."""

    builtin: Literal["calculator", "arithmetic", "units", "dates", "sql"]
    files: tuple[Path, ...] = Field((), description="for sql: CSV files, or one SQLite or DuckDB database")
    rows: Annotated[int, Field(ge=1, le=10_000)] | None = Field(None, description="for sql: most rows of a result")
    seconds: _Seconds | None = Field(None, description="for sql: longest time of a query")


class FunctionTools(_Strict):
    """A typed Python function."""

    function: str = Field(
        pattern=r"^[\w.]+:\w+$",
        description="package.module:function, installed, beside this file or in the current folder",
    )
    name: str | None = Field(None, description="what it is called by; default: the function's name")
    seconds: _Seconds | None = Field(None, description="longest time of one call")
    max_output: _Positive | None = Field(None, description="most characters of a result")
    side_effects: bool | None = Field(None, description="it changes something outside: ask the user before each call")
    folder: Path = Field(Path(), description="where its module is looked for; default: the folder of this file")


class McpSource(_Strict):
    """How an MCP server is reached: started as a process, or by its URL."""

    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="program and arguments of a server over stdio; it runs in the folder of this file"
    )
    env: dict[str, str] = Field(default_factory=dict, description="further environment variables for the command")
    folder: Path = Field(Path(), description="where the command runs; default: the folder of this file")
    url: str | None = Field(None, description="endpoint of a server over streamable HTTP")
    headers: dict[str, str] = Field(default_factory=dict, description="sent to the URL with every request")

    @model_validator(mode="after")
    def _one_way(self) -> McpSource:
        if (self.command is None) == (self.url is None):
            raise ValueError("either command or url")
        return self


class McpTools(_Strict):
    """Tools of an MCP server."""

    mcp: McpSource
    only: tuple[str, ...] | None = Field(None, description="these of its tools; default: all")
    prefix: str = Field("", description="put before each name")
    seconds: _Seconds = Field(10.0, description="longest time of one call")
    max_output: _Positive = Field(4_000, description="most characters of a result")
    side_effects: bool | None = Field(
        None, description="ask the user before each call; default: unless the server calls the tool read-only"
    )


def _by_key(given: Any) -> str | None:
    """Which kind of tools: the one whose key is there."""
    has = given.__contains__ if isinstance(given, Mapping) else lambda key: hasattr(given, key)
    return next((key for key in ("builtin", "function", "mcp") if has(key)), None)


ToolSource = Annotated[
    Annotated[BuiltinTools, Tag("builtin")]
    | Annotated[FunctionTools, Tag("function")]
    | Annotated[McpTools, Tag("mcp")],
    Discriminator(_by_key),
]

BUILTIN_TOOLS = {
    "calculator": ("calculator",),
    "arithmetic": (
        "add", "subtract", "multiply", "divide", "remainder", "power", "sqrt", "log", "ln", "choose", "permutate", "gcd",
        "lcm",
    ),
    "units": ("convert_unit",),
    "dates": ("days_between", "weekday", "add_to_date", "convert_time", "current_time"),
    "sql": ("sql",),
}  # fmt: skip
"""The names of the tools that each built-in brings."""


def names_of(source: ToolSource) -> tuple[str, ...] | None:
    """The names of the tools that a source brings; None where only its server knows them."""
    match source:
        case BuiltinTools(builtin=name):
            return BUILTIN_TOOLS[name]
        case FunctionTools(function=reference, name=name):
            return (name or reference.partition(":")[2],)
        case McpTools(only=only, prefix=prefix):
            return None if only is None else tuple(mcp_name(name, prefix) for name in only)


def mcp_name(name: str, prefix: str) -> str:
    """What a tool of an MCP server is called here; its own name may have characters that no model should write."""
    return prefix + re.sub(r"[^\w-]", "_", name, flags=re.ASCII)
