"""Calls tools for a model: read, ask, run, limit. Whatever goes wrong becomes text that the model can read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.tools.ask import Consent, PendingCall
from router.tools.base import Tool
from router.tools.errors import ToolDenied, ToolError
from router.tools.function import FunctionTool
from router.tools.mcp import McpTool
from router.tools.processes import Output, ToolProcesses
from router.tools.registry import Registry


@dataclass(frozen=True)
class ToolResult:
    """What came of a call.

    Attributes:
        tool: the name that was called, known or not.
        arguments: what the tool was called with, as JSON values; None if that never became clear.
        text: the result, or what went wrong; what to splice.
        error: what went wrong, if something did.
        cut: the result was longer than the tool's ``max_output``; ``text`` is its beginning.
        seconds: what the call took, without the time in which the user was asked.
    """

    tool: str
    arguments: Mapping[str, Any] | None
    text: str
    error: ToolError | None
    cut: bool
    seconds: float


class ToolCaller:
    """Calls the tools of one registry; belongs to one event loop.

    Args:
        tools: what may be called.
        consent: asks the user before a tool with side effects runs; without it such tools are denied.
        processes: where functions run; by default processes of its own, closed with it.
    """

    def __init__(self, tools: Registry, consent: Consent | None = None, processes: ToolProcesses | None = None) -> None:
        self.tools = tools
        self._consent = consent
        self._processes = processes or ToolProcesses()

    async def call(
        self, name: str, arguments: str | Mapping[str, Any], *, raises: bool = False, consent: Consent | None = None
    ) -> ToolResult:
        """Calls a tool with the text of a call (see ``read_arguments``) or with arguments by name.

        Args:
            consent: asks about this call, in place of the caller's own.

        Raises:
            ToolError: something went wrong and ``raises`` is set; otherwise it is in the result.
        """
        checked: dict[str, Any] | None = None
        begun = time.perf_counter()
        try:
            tool = self.tools[name]
            checked = tool.read(arguments) if isinstance(arguments, str) else tool.check(arguments)
            if tool.side_effects:
                await _ask(consent or self._consent, tool, checked)
                begun = time.perf_counter()
            output = await self._run(tool, checked)
        except ToolError as problem:
            if raises:
                raise
            text = f"error: {problem}"
            return ToolResult(name, checked, text, problem, cut=False, seconds=time.perf_counter() - begun)
        return ToolResult(name, checked, output.text, None, output.cut, time.perf_counter() - begun)

    async def aclose(self) -> None:
        """Ends the processes and the connections to MCP servers; a later call starts them anew."""
        await self._processes.aclose()
        for server in {tool.server for tool in self.tools if isinstance(tool, McpTool)}:
            await server.aclose()

    async def _run(self, tool: Tool, arguments: Mapping[str, Any]) -> Output:
        match tool:
            case FunctionTool():
                return await self._processes.run(tool, arguments)
            case McpTool():
                return await tool.run(arguments)
            case _:
                raise TypeError(f"expected a FunctionTool or an McpTool, found {type(tool).__name__}")


async def _ask(consent: Consent | None, tool: Tool, arguments: Mapping[str, Any]) -> None:
    if consent is None:
        raise ToolDenied(f"{tool.name}: expected somebody to ask, since it has side effects; found nobody")
    if not await consent(PendingCall(tool.name, tool.description, arguments)):
        raise ToolDenied(f"{tool.name}: expected a yes from the user, found a no. Go on without it")
