"""The tools of a graph: each source starts when first needed, once for each event loop that calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from router.runtime.once import Once
from router.spec.tools import BuiltinTools, FunctionTools, McpTools, ToolSource, names_of
from router.spec.wording import did_you_mean, listed, quoted

if TYPE_CHECKING:
    from router.tools import Tool, ToolCaller


class ToolPool:
    """Who calls a tool, by the tool's name."""

    def __init__(self, sources: Sequence[ToolSource]) -> None:
        self._sources = sources
        self._made: Once[_Held] = Once()

    async def caller(self, name: str) -> ToolCaller:
        """The caller of the first source that has a tool of that name.

        Raises:
            ToolDefinitionError: there is none, or its source is not as the spec says.
            ToolUnavailable: its MCP server does not answer.
        """
        from router.tools.errors import ToolDefinitionError

        loop = asyncio.get_running_loop()
        known: list[str] = []
        for place, source in enumerate(self._sources):
            if name in (names_of(source) or [name]):
                held = await self._made.get((loop, place), partial(_made, source))
                known += held.caller.tools.names
                if name in held.caller.tools.names:
                    return held.caller
        fix = did_you_mean(name, known, f"there are {listed(known)}")
        raise ToolDefinitionError(f"expected the name of one of the graph's tools, found {quoted(name)}; {fix}")

    async def close(self) -> None:
        """Ends processes and connections, the others too if one fails."""
        here = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            for held in self._made.clear():
                loop = held.keeper.get_loop()
                if loop is here:
                    stack.push_async_callback(_ended, held.keeper)
                elif loop.is_running():
                    stack.push_async_callback(_ended_there, held.keeper, loop)


@dataclass(frozen=True)
class _Held:
    """A caller, and the task that closes it when it is cancelled: at the latest at the end of ``asyncio.run``."""

    caller: ToolCaller
    keeper: asyncio.Task[None]


async def _made(source: ToolSource) -> _Held:
    from router.tools import Registry, ToolCaller

    caller = ToolCaller(Registry(await load_tools(source)))
    return _Held(caller, asyncio.create_task(_keep(caller)))


async def _keep(caller: ToolCaller) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await caller.aclose()


async def _ended(keeper: asyncio.Task[None]) -> None:
    keeper.cancel()
    await asyncio.wait({keeper})
    if not keeper.cancelled():
        keeper.result()


async def _ended_there(keeper: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_ended(keeper), loop))


async def load_tools(source: ToolSource) -> tuple[Tool, ...]:
    """The tools that a source brings; an MCP server is asked for them.

    Raises:
        ToolDefinitionError: they are not as the spec says.
        DataError: a file of ``sql`` is damaged.
        ToolUnavailable: an MCP server does not answer.
    """
    match source:
        case BuiltinTools():
            from router.tools.builtins.catalogue import load_builtin

            settings = source.model_dump(include={"files", "rows", "seconds"}, exclude_defaults=True)
            return load_builtin(source.builtin, settings)
        case FunctionTools():
            from router.tools.registry import load_function

            function = load_function(source.function, source.folder).configured({})
            given = source.model_dump(include={"seconds", "max_output", "side_effects"}, exclude_none=True)
            (name,) = names_of(source) or ()
            return (replace(function, name=name, **given),)
        case McpTools():
            return await _mcp_tools(source)


async def _mcp_tools(source: McpTools) -> tuple[Tool, ...]:
    from router.tools.mcp import mcp_tools
    from router.tools.mcp_connection import HttpSource, StdioSource
    from router.tools.mcp_server import McpServer

    reached = source.mcp
    if reached.url is not None:
        server = McpServer(HttpSource(reached.url, reached.headers))
    else:
        server = McpServer(StdioSource(reached.command or (), reached.env, reached.folder))
    limits = source.model_dump(include={"only", "prefix", "seconds", "max_output", "side_effects"})
    try:
        return await mcp_tools(server, **limits)
    except BaseException:  # also when cancelled: nobody else knows of this server
        await server.aclose()
        raise
