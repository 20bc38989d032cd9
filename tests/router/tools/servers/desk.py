"""A real MCP server: over stdio, or with a port as its argument over streamable HTTP."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Annotated, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

server = MCPServer("desk", log_level="ERROR")
reads = ToolAnnotations(read_only_hint=True)


@server.tool(annotations=reads)
def add(a: int, b: Annotated[int, Field(le=100)]) -> int:
    """Adds two numbers."""
    return a + b


@server.tool(annotations=reads)
def shape(kind: Literal["round", "square"], note: Annotated[str, Field(pattern="^(a+)+$")] = "a") -> str:
    """Draws a shape."""
    return f"{kind} {note}"


@server.tool()
def delete(path: str) -> str:
    """Deletes something."""
    return f"deleted {path}"


@server.tool(annotations=reads)
def refuse() -> str:
    """Always refuses."""
    raise ToolError("the drawer is locked")


@server.tool(annotations=reads)
def flood(characters: int) -> str:
    """Writes much."""
    return "x" * characters


@server.tool()
def die() -> str:
    """Ends the server in the middle of a call."""
    os._exit(3)


@server.tool(annotations=reads)
def hang() -> str:
    """Never returns."""
    while True:
        time.sleep(1)


@server.tool(annotations=reads)
async def wait(seconds: float) -> int:
    """Takes its time; gives the server's process id."""
    await asyncio.sleep(seconds)
    return os.getpid()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
