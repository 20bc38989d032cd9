"""A call of a tool in an answer, for the trace."""

from __future__ import annotations

from router.tools.call import ToolResult
from router.trace import WrittenCall


def written_call(result: ToolResult, *, written: str, probability: float, token: str = "") -> WrittenCall:
    """What came of a call, as plain data."""
    return WrittenCall(
        tool=result.tool, token=token, written=written, text=result.text,
        arguments=None if result.arguments is None else dict(result.arguments), failed=result.error is not None,
        cut=result.cut, probability=probability, milliseconds=1000 * result.seconds,
    )  # fmt: skip
