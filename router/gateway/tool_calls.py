"""Calls of tools in a model's text: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>`` (Hermes, Qwen)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import uuid4

from router.gateway.responses import ToolCallEntry

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


@dataclass
class ToolCallReader:
    """Tells calls from text, piece by piece.

    A call that is no JSON object with a name, or that has no end, stays text: the client sees what the model wrote.
    """

    calls: int = 0
    _held: str = ""

    def push(self, text: str) -> list[str | ToolCallEntry]:
        """The next piece of the model's text; gives what is certain by now."""
        self._held += text
        found: list[str | ToolCallEntry] = []
        while (start := self._held.find(_OPEN)) >= 0:
            end = self._held.find(_CLOSE, start)
            if end < 0:
                break
            call = self._call(self._held[start + len(_OPEN) : end])
            after = end + len(_CLOSE)
            found += [self._held[:start], call] if call else [self._held[:after]]
            self._held = self._held[after:]
        certain = start if start >= 0 else len(self._held) - _begun(self._held)
        found.append(self._held[:certain])
        self._held = self._held[certain:]
        return [piece for piece in found if not isinstance(piece, str) or piece.strip() or (piece and not self.calls)]

    def finish(self) -> list[str | ToolCallEntry]:
        """What was still held back when the text has ended."""
        rest, self._held = self._held, ""
        return [rest] if rest.strip() else []

    def _call(self, text: str) -> ToolCallEntry | None:
        try:
            call = json.loads(text)
        except ValueError:
            return None
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return None
        arguments = call.get("arguments", {})
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        self.calls += 1
        return {
            "index": self.calls - 1, "id": f"call_{uuid4().hex[:24]}", "type": "function",
            "function": {"name": call["name"], "arguments": arguments},
        }  # fmt: skip


def _begun(text: str) -> int:
    """How long an end of the text is that a call may begin with."""
    return next((n for n in range(min(len(_OPEN) - 1, len(text)), 0, -1) if _OPEN.startswith(text[-n:])), 0)
