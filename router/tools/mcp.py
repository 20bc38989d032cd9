"""Tools of MCP servers (Model Context Protocol), over stdio and streamable HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from router.spec.tools import mcp_name
from router.spec.wording import did_you_mean, quoted
from router.tools.base import Tool
from router.tools.errors import ToolArgumentsError, ToolDefinitionError, ToolFailed, ToolUnavailable
from router.tools.mcp_server import McpServer
from router.tools.processes import Output

if TYPE_CHECKING:
    from mcp.types import CallToolResult
    from mcp.types import Tool as ListedTool


@dataclass(frozen=True, kw_only=True)
class McpTool(Tool):
    """A tool of an MCP server.

    Attributes:
        server: the server.
        remote_name: the server's name of it.
    """

    server: McpServer = field(repr=False)
    remote_name: str

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from pydantic_core import to_jsonable_python
        from referencing.exceptions import Unresolvable

        plain: dict[str, Any] = to_jsonable_python(dict(arguments))
        try:
            problem = next(_validator(self.schema).iter_errors(plain), None)
        except (Unresolvable, RecursionError) as error:
            raise ToolFailed(f"{self.name}: expected a schema that can be checked, found {error}") from error
        if problem is None:
            return plain
        at = problem.json_path.removeprefix("$").removeprefix(".") or "arguments"
        raise ToolArgumentsError(f"{self.name}: {at}: {problem.message[:200]}")

    async def run(self, arguments: Mapping[str, Any]) -> Output:
        """Calls the tool with checked arguments; raises what ``McpServer.call`` raises, and ToolFailed on its error."""
        begun = time.monotonic()
        try:
            result = await self.server.call(self.remote_name, arguments, self.seconds)
        except ToolUnavailable:
            left = self.seconds - (time.monotonic() - begun)
            if self.side_effects or left <= 0:
                raise
            # Most likely it had gone before the call; to read twice does no harm.
            result = await self.server.call(self.remote_name, arguments, left)
        text = _as_text(result)
        if result.is_error:
            raise ToolFailed(f"{self.name}: {text[: self.max_output]}")
        return Output(text[: self.max_output], cut=len(text) > self.max_output)


async def mcp_tools(
    server: McpServer,
    *,
    only: Collection[str] | None = None,
    prefix: str = "",
    seconds: float = 10.0,
    max_output: int = 4_000,
    side_effects: bool | None = None,
) -> tuple[McpTool, ...]:
    """The tools that the server has.

    Args:
        only: these of them, by the server's names.
        prefix: put before each name.
        seconds: longest time of one call, connecting anew included.
        max_output: most characters of a result.
        side_effects: whether its tools ask first; None believes the server, which may call a tool read-only.

    Raises:
        ToolUnavailable: no server answers.
        ToolDefinitionError: a tool's description is no tool, or the server lacks one of ``only``.
    """
    listed = {tool.name: tool for tool in await server.listed()}
    for name in only or ():
        if name not in listed:
            fix = did_you_mean(name, listed, f"it has {', '.join(listed) or 'none'}")
            raise ToolDefinitionError(f"MCP server {server.source}: expected tool {quoted(name)}, found none; {fix}")
    return tuple(
        McpTool(
            name=mcp_name(tool.name, prefix),
            description=tool.description or tool.title or tool.name.replace("_", " "),
            schema=_checked(tool),
            seconds=seconds,
            max_output=max_output,
            side_effects=_may_write(tool) if side_effects is None else side_effects,
            server=server,
            remote_name=tool.name,
        )
        for tool in listed.values()
        if only is None or tool.name in only
    )


def _validator(schema: Mapping[str, Any]) -> Any:
    """Checks arguments; a pattern is left to the server, since Python may take for ever to match one."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
    from jsonschema.validators import extend, validator_for  # type: ignore[import-untyped]
    from referencing import Registry

    draft = validator_for(schema, default=Draft202012Validator)
    return extend(draft, {"pattern": None, "patternProperties": None})(schema, registry=Registry())


def _checked(tool: ListedTool) -> dict[str, Any]:
    from jsonschema import SchemaError

    validator = _validator(tool.input_schema)
    try:
        validator.check_schema(tool.input_schema)
    except SchemaError as problem:
        raise ToolDefinitionError(
            f"tool {quoted(tool.name)}: expected a JSON Schema, found {problem.message}"
        ) from None
    return tool.input_schema


def _may_write(tool: ListedTool) -> bool:
    return not (tool.annotations and tool.annotations.read_only_hint)


def _as_text(result: CallToolResult) -> str:
    """The texts of a result; what is no text is named."""
    if not result.content and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(block.text if block.type == "text" else f"[{block.type}]" for block in result.content)
