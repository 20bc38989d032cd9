"""Questions whose answers are calls: text with calls in it, and what is left of it for the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experts.pocket.domains.base import Problem


@dataclass(frozen=True)
class Call:
    """One call: the tool's name, its arguments as text with the brackets, and what the tool gives."""

    tool: str
    arguments: str
    result: str


@dataclass(frozen=True)
class ToolProblem(Problem):
    """A question that tools answer.

    Attributes:
        parts: what the model writes: plain text, and calls. ``answer`` is the same with results in the place of calls.
    """

    parts: tuple[str | Call, ...] = ()

    @property
    def marked(self) -> str:
        """The parts with calls marked as in ToolkenGPT's FuncQA: ``<add>(2,3)=5``."""
        return "".join(p if isinstance(p, str) else f"<{p.tool}>{p.arguments}={p.result}" for p in self.parts)

    @property
    def tool(self) -> str:
        """The tool of the first call."""
        return next(part.tool for part in self.parts if isinstance(part, Call))


def tool_problem(slots: Mapping[str, str], *parts: str | Call) -> ToolProblem:
    """The problem with these surfaces and parts; it is held out by its calls."""
    calls = "; ".join(part.tool + part.arguments for part in parts if isinstance(part, Call))
    answer = "".join(part if isinstance(part, str) else part.result for part in parts)
    return ToolProblem(slots, calls, answer, parts=parts)


def arguments(*values: int | str) -> str:
    """Arguments as the model writes them: numbers bare, texts in double quotes, no spaces."""
    return "(" + ",".join(str(v) for v in values) + ")"


def text(value: str) -> str:
    """A text argument."""
    return f'"{value}"'
