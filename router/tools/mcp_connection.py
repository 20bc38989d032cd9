"""One connection to an MCP server, held by a task of its own (the SDK wants it opened and closed in one task)."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router.tools.errors import ToolUnavailable

if TYPE_CHECKING:
    from mcp import Client

_CONNECT_SECONDS = 60.0


@dataclass(frozen=True)
class StdioSource:
    """A server that is started as a process and spoken to over its input and output.

    Attributes:
        command: the program and its arguments.
        env: further environment variables; of this process's it gets HOME, PATH and the like only.
        folder: where it runs; by default here.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None

    def __str__(self) -> str:
        return self.command[0]


@dataclass(frozen=True)
class HttpSource:
    """A server that runs elsewhere and speaks streamable HTTP.

    Attributes:
        url: its endpoint, mostly ``http://HOST:PORT/mcp``.
        headers: sent with every request, such as ``Authorization``.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.url.partition("?")[0]


class Connection:
    """Connects as soon as it is made; belongs to the event loop that it is made in."""

    def __init__(self, source: StdioSource | HttpSource) -> None:
        self._source = source
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._unused = asyncio.Event()
        self._users = 0
        self._retired = False
        self._holder = asyncio.create_task(self._hold())
        self._holder.add_done_callback(_noted)

    @property
    def usable(self) -> bool:
        """Whether further calls may use it."""
        return not self._retired and not self._holder.done()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keeps it open for a call."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._close_if_unused()

    async def client(self) -> Client:
        """The client, once it is connected.

        Raises:
            ToolUnavailable: it cannot be connected.
        """
        either: set[asyncio.Future[Any]] = {self._holder, self._client}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._client.done():
            return self._client.result()
        problem = None if self._holder.cancelled() else self._holder.exception()
        raise ToolUnavailable(
            f"expected an MCP server at {self._source}, found none that answers ({_innermost(problem)}). Start it, or "
            "correct the spec"
        ) from problem

    def retire(self) -> None:
        """Closes it as soon as no call uses it; further calls must not."""
        self._retired = True
        self._close_if_unused()

    async def closed(self) -> None:
        """Waits until it is closed; the SDK gives a server that does not listen a few seconds before it kills it."""
        await asyncio.wait({self._holder})

    def _close_if_unused(self) -> None:
        if self._retired and not self._users:
            self._unused.set()

    async def _hold(self) -> None:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(_CONNECT_SECONDS):
                client = await stack.enter_async_context(await _client(self._source, stack))
            self._client.set_result(client)
            await self._unused.wait()


async def _client(source: StdioSource | HttpSource, stack: AsyncExitStack) -> Client:
    from mcp import Client, StdioServerParameters, stdio_client

    match source:
        case StdioSource(command=(program, *arguments)):
            server = StdioServerParameters(command=program, args=arguments, env=dict(source.env), cwd=source.folder)
            return Client(stdio_client(server, errlog=sys.__stderr__ or sys.stderr))  # a notebook's own is no file
        case HttpSource():
            from mcp.client.streamable_http import streamable_http_client
            from mcp.shared._httpx_utils import create_mcp_http_client

            http = await stack.enter_async_context(create_mcp_http_client(headers=dict(source.headers)))
            return Client(streamable_http_client(source.url, http_client=http))
    raise ToolUnavailable("expected an MCP server with a command or a url, found neither")


def _noted(holder: asyncio.Task[None]) -> None:
    """Calls learn by themselves that a server went away; how it went is for the log."""
    if not holder.cancelled() and (problem := holder.exception()):
        logging.getLogger(__name__).debug("a connection to an MCP server ended", exc_info=problem)


def _innermost(problem: BaseException | None) -> str:
    """What a group of exceptions is about."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return f"{type(problem).__name__}: {problem}" if problem else "closed"
