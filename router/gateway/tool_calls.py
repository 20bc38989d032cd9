"""Calls of tools in a model's text, in OpenAI's form: those that the client is to make."""

from __future__ import annotations

import json
from uuid import uuid4

from router.gateway.responses import ToolCallEntry
from router.tools.native.reader import CallReader, Piece


class ToolCallReader:
    """Tells calls from text, piece by piece.

    A call that is no JSON object with a name, or that has no end, stays text: the client sees what the model wrote.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._reader = CallReader()

    def push(self, text: str) -> list[str | ToolCallEntry]:
        """The next piece of the model's text; gives what is certain by now."""
        return self._entries(self._reader.push(text))

    def finish(self) -> list[str | ToolCallEntry]:
        """What was still held back when the text has ended."""
        return self._entries(self._reader.finish())

    def _entries(self, pieces: list[Piece]) -> list[str | ToolCallEntry]:
        found: list[str | ToolCallEntry] = []
        for piece in pieces:
            if isinstance(piece, str):
                found.append(piece)
            elif piece.problem is not None:
                found.append(piece.written)
            else:
                found.append(call_entry(f"call_{uuid4().hex[:24]}", piece.name, piece.arguments, self.calls))
                self.calls += 1
        return found


def call_entry(call_id: str, name: str, arguments: object, index: int) -> ToolCallEntry:
    """A call in a stream; arguments that are a text stay as they are."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": text}}
