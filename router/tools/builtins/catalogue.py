"""The tools that come with tokengraph, by the name that a spec gives them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from router.spec.tools import BUILTIN_TOOLS
from router.spec.wording import did_you_mean, quoted
from router.tools.errors import ToolDefinitionError
from router.tools.function import FunctionTool

_HERE = "router.tools.builtins"
_MODULES = {"calculator": "calculator", "arithmetic": "arithmetic_tools", "units": "units", "dates": "dates"}


def load_builtin(name: str, settings: Mapping[str, Any] | None = None) -> tuple[FunctionTool, ...]:
    """The tools of that name: ``calculator``, ``arithmetic``, ``units``, ``dates``, or ``sql`` with ``files``.

    Args:
        name: as above.
        settings: of ``sql``, what ``sql_over`` takes; the others have none.

    Raises:
        ToolDefinitionError: there is no such built-in, or the settings are not its own.
        DataError: a file of ``sql`` is damaged.
    """
    given = dict(settings or {})
    if name == "sql":
        from router.tools.builtins.sql import sql_over

        return (sql_over(given.pop("files", ()), **given),)
    if name not in _MODULES:
        fix = did_you_mean(name, BUILTIN_TOOLS, f"there are {', '.join(BUILTIN_TOOLS)}")
        raise ToolDefinitionError(f"expected a built-in tool, found {quoted(name)}; {fix}")
    found = import_module(f"{_HERE}.{_MODULES[name]}")
    return tuple(getattr(found, tool).configured(given) for tool in BUILTIN_TOOLS[name])
