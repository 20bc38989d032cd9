"""An answer as a chat turn."""

from __future__ import annotations

from dataclasses import dataclass

from router.gateway.own_calls import made_calls, waiting_call
from router.gateway.responses import AssistantMessage, ToolCallEntry
from router.gateway.tool_calls import ToolCallReader
from router.runtime.result import RunResult


@dataclass(frozen=True)
class Form:
    """Which calls a turn has.

    Attributes:
        reads_calls: those in the answer's text, which the client is to make.
        shows_calls: those that nodes made.
    """

    reads_calls: bool
    shows_calls: bool


def answered(result: RunResult, form: Form) -> AssistantMessage:
    """The answer as a turn; a call that waits for a yes is always in it."""
    text: str | None = result.answer
    calls: list[ToolCallEntry] = []
    if form.reads_calls:
        reader = ToolCallReader()
        pieces = [*reader.push(result.answer), *reader.finish()]
        calls = [piece for piece in pieces if not isinstance(piece, str)]
        text = "".join(piece for piece in pieces if isinstance(piece, str)).strip()
        text = text or (None if calls else text)
    for event in result.events if form.shows_calls else ():
        calls += made_calls(event, len(calls))
    if waiting := waiting_call(result, len(calls)):
        calls, text = [*calls, waiting], None
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text, "tool_calls": [_whole(call) for call in calls]}


def _whole(call: ToolCallEntry) -> ToolCallEntry:
    """A call as it is outside of streams."""
    return {"id": call["id"], "type": call["type"], "function": call["function"]}
