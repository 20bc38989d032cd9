"""What can go wrong with a tool. The text of a ToolError is written for the model that called: it can read and correct.

::

    GraphError
    └── ToolDefinitionError    a tool cannot be made as written (before any run)
    RunError
    └── ToolError              a call gave no result
        ├── UnknownTool        there is no such tool
        ├── ToolArgumentsError   what was written does not fit the tool's signature
        ├── ToolTimeout        no result within the tool's seconds
        ├── ToolFailed         the tool refused the arguments or broke
        ├── ToolUnavailable    what runs the tool is not there now
        └── ToolDenied         it has side effects and the user did not agree
"""

from __future__ import annotations

from router.errors import GraphError, RunError


class ToolDefinitionError(GraphError):
    """A tool cannot be made of what the spec or the code gives."""


class ToolError(RunError):
    """A call of a tool gave no result."""


class UnknownTool(ToolError):
    """There is no tool of that name."""


class ToolArgumentsError(ToolError):
    """The text of a call is no call, or its arguments do not fit the tool's signature."""


class ToolTimeout(ToolError):
    """The tool was stopped because it gave no result in time."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name}: expected a result within {seconds:g} s, found none; it was stopped")
        self.seconds = seconds


class ToolFailed(ToolError):
    """The tool ran and refused what it was asked, or broke."""


class ToolUnavailable(ToolError):
    """What runs the tool (a process, an MCP server) cannot be started or has gone away; a later call may succeed."""


class ToolDenied(ToolError):
    """The tool has side effects, and nobody agreed to the call."""
