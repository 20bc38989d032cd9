"""A connection to an MCP server that is made when needed, and anew after the server died or hung."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from router.tools.errors import ToolFailed, ToolTimeout, ToolUnavailable
from router.tools.mcp_connection import Connection, HttpSource, StdioSource

if TYPE_CHECKING:
    from mcp.types import CallToolResult
    from mcp.types import Tool as ListedTool

_MOST_PAGES = 100
_LIST_SECONDS = 60.0  # a server may install itself first (npx, uvx)


class McpServer:
    """One server, connected when first needed, and anew after it died or hung; belongs to one event loop."""

    def __init__(self, source: StdioSource | HttpSource) -> None:
        self.source = source
        self._connection: Connection | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def listed(self) -> list[ListedTool]:
        """The tools that the server has, as it describes them.

        Raises:
            ToolUnavailable: no server answers.
        """
        from mcp import MCPError

        connection = self._current()
        found: list[ListedTool] = []
        cursor = None
        try:
            with connection.used():
                async with asyncio.timeout(_LIST_SECONDS):
                    client = await connection.client()
                    for _ in range(_MOST_PAGES):
                        page = await client.list_tools(cursor=cursor)
                        found += page.tools
                        if not (cursor := page.next_cursor):
                            break
        except (MCPError, TimeoutError) as problem:
            self._retire(connection)
            reason = str(problem) or f"no answer within {_LIST_SECONDS:g} s"
            raise ToolUnavailable(f"expected the tools of MCP server {self.source}, found {reason}") from problem
        return found

    async def call(self, name: str, arguments: Mapping[str, Any], seconds: float) -> CallToolResult:
        """Calls a tool by the server's name of it.

        Raises:
            ToolTimeout: no result in time; the next call connects anew.
            ToolUnavailable: the server cannot be reached, or went away in the call; the next call connects anew.
            ToolFailed: the server refused the call, or its answer is none.
        """
        from mcp import MCPError
        from pydantic import ValidationError

        connection = self._current()
        connected = False
        try:
            with connection.used():
                async with asyncio.timeout(seconds):
                    client = await connection.client()
                    connected = True
                    return await client.call_tool(name, dict(arguments))
        except TimeoutError:
            if connected:  # else let it go on connecting for the next call
                self._retire(connection)
            raise ToolTimeout(name, seconds) from None
        except MCPError as problem:
            if _is_refusal(problem.code):
                raise ToolFailed(f"{name}: {problem.message}") from problem
            self._retire(connection)
            raise ToolUnavailable(
                f"{name}: expected a result, found that MCP server {self.source} went away ({problem.message})"
            ) from problem
        except (ValidationError, RuntimeError) as problem:  # the SDK checks the answer against the tool's own schema
            raise ToolFailed(f"{name}: expected a result as MCP has it, found {problem}") from problem

    async def aclose(self) -> None:
        """Disconnects; a later call connects anew."""
        if self._connection:
            self._retire(self._connection)
        await asyncio.gather(*self._closing)

    def _current(self) -> Connection:
        if self._connection is None or not self._connection.usable:
            self._connection = Connection(self.source)
        return self._connection

    def _retire(self, connection: Connection) -> None:
        connection.retire()
        closing = asyncio.create_task(connection.closed())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _is_refusal(code: int) -> bool:
    """Whether an error's code is the server's answer to the call; otherwise the connection or its session has gone."""
    from mcp.types import CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT

    return code not in (CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT)
