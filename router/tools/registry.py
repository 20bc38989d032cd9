"""Tools by name, and tools by ``package.module:function``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from router.spec.wording import did_you_mean, listed, quoted
from router.tools.base import Tool
from router.tools.errors import ToolDefinitionError, UnknownTool
from router.tools.function import FunctionTool, tool
from router.user_function import load_user_function


class Registry:
    """The tools that a model may call, in order.

    Raises:
        ToolDefinitionError: two tools have one name.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for one in tools:
            if one.name in self._tools:
                raise ToolDefinitionError(f"expected tools of different names, found {quoted(one.name)} twice")
            self._tools[one.name] = one

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tools."""
        return tuple(self._tools)

    def __getitem__(self, name: str) -> Tool:
        """The tool of that name.

        Raises:
            UnknownTool: there is none.
        """
        if name not in self._tools:
            fix = did_you_mean(name, self._tools, f"there are {listed(self._tools)}")
            raise UnknownTool(f"expected the name of a tool, found {quoted(name)}; {fix}")
        return self._tools[name]

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)


def load_function(reference: str, folder: Path | None = None) -> FunctionTool:
    """The tool that ``package.module:function`` names; a function without ``@tool`` becomes one with default limits.

    Args:
        reference: as above.
        folder: modules are looked for here, too (the folder of the spec).

    Raises:
        ToolDefinitionError: it cannot be imported, or is no function that a tool can be made of.
    """
    try:
        found = load_user_function(reference, *(() if folder is None else (folder,)))
    except ImportError as problem:
        raise ToolDefinitionError(
            f"expected a function package.module:function that can be imported, found {problem}. Correct it, install the "
            "package, or put the module beside the spec"
        ) from problem
    if isinstance(found, FunctionTool):
        return found
    if isinstance(found, type):
        raise ToolDefinitionError(f"expected a function at {quoted(reference)}, found {type(found).__name__}")
    return tool(found)
