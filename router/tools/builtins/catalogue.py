"""The tools that come with tokengraph, by the name that a spec gives them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from router.spec.wording import did_you_mean, quoted
from router.tools.errors import ToolDefinitionError
from router.tools.function import FunctionTool

_HERE = "router.tools.builtins"
_TOOLS = {
    "calculator": ("calculator", ("calculator",)),
    "arithmetic": (
        "arithmetic_tools",
        ("add", "subtract", "multiply", "divide", "remainder", "power", "sqrt", "log", "ln", "choose", "permutate", "gcd",
         "lcm"),
    ),
    "units": ("units", ("convert_unit",)),
    "dates": ("dates", ("days_between", "weekday", "add_to_date", "convert_time", "current_time")),
}  # fmt: skip


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
    if name not in _TOOLS:
        fix = did_you_mean(name, [*_TOOLS, "sql"], f"there are {', '.join([*_TOOLS, 'sql'])}")
        raise ToolDefinitionError(f"expected a built-in tool, found {quoted(name)}; {fix}")
    module, tools = _TOOLS[name]
    found = import_module(f"{_HERE}.{module}")
    return tuple(getattr(found, tool).configured(given) for tool in tools)
