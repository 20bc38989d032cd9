"""What the evals of the pocket model that uses tools share: its built-in tools, and which tool a run called first."""

from __future__ import annotations

from router.runtime.result import RunResult
from router.tools.base import Tool
from router.tools.builtins.catalogue import load_builtin
from router.trace import Answered


def builtin_tools() -> list[Tool]:
    """The built-in tools that graph_specs/pocket_tools.yaml names."""
    return [tool for name in ("calculator", "arithmetic", "units", "dates") for tool in load_builtin(name)]


def first_call(result: object) -> str | None:
    """The tool that a run called first; None if it failed, or called none."""
    events = result.events if isinstance(result, RunResult) else ()
    return next((call.tool for event in events if isinstance(event, Answered) for call in event.calls), None)
