"""Asking before a tool changes something outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class PendingCall:
    """A call that waits for a yes; plain data, so that it survives a checkpoint and travels as JSON.

    Attributes:
        tool: the tool's name.
        description: what the tool does.
        arguments: what it is called with, checked, as JSON values.
        id: of the question, once a run waits with it.
    """

    tool: str
    description: str
    arguments: Mapping[str, Any]
    id: str = ""


class Consent(Protocol):
    """Asks the user; awaited before the tool's time starts to count.

    It may raise instead of answering (a LangGraph interrupt): nothing has run by then, and the same call is asked for
    again when the run is resumed.
    """

    async def __call__(self, call: PendingCall) -> bool: ...
