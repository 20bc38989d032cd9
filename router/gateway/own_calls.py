"""Calls of tools that the client is not to make: those that nodes made, and one that waits for the user's yes.

Their ids say which they are, so a dialogue that a client sends back is told apart from one with calls of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from router.errors import RequestError
from router.gateway.errors import Refused
from router.gateway.requests import ChatMessage
from router.gateway.responses import ToolCallEntry
from router.gateway.tool_calls import call_entry
from router.runtime.result import RunResult
from router.tools.ask import PendingCall
from router.trace import Answered, Called, Event

_MADE, _WAITS = "made_", "approve_"


@dataclass(frozen=True)
class Approval:
    """The user's answer to a call that waits.

    Attributes:
        ticket: of the run.
        call: id of the call in it.
    """

    ticket: str
    call: str
    yes: bool


def made_calls(event: Event, first: int) -> list[ToolCallEntry]:
    """The calls of a visit; arguments that never became clear are as the model wrote them."""
    calls: list[tuple[str, object]] = []
    if isinstance(event, Called):
        calls = [(event.tool, event.arguments)]
    elif isinstance(event, Answered):
        calls = [(call.tool, call.written if call.arguments is None else call.arguments) for call in event.calls]
    return [
        call_entry(f"{_MADE}{uuid4().hex[:24]}", name, arguments, first + place)
        for place, (name, arguments) in enumerate(calls)
    ]


def waiting_call(result: RunResult, index: int) -> ToolCallEntry | None:
    """The call that a run waits with, for the client to answer with yes or no."""
    if result.pending is None or result.thread_id is None:
        return None
    pending: PendingCall = result.pending
    ticket = result.thread_id.partition("-")[0]
    return call_entry(f"{_WAITS}{ticket}_{pending.id}", pending.tool, dict(pending.arguments), index)


def is_own(call_id: str | None) -> bool:
    """Whether a call is one of these, by its id."""
    return call_id is not None and call_id.startswith((_MADE, _WAITS))


def is_made(call_id: str) -> bool:
    """Whether a node made the call."""
    return call_id.startswith(_MADE)


def new_ticket() -> str:
    """What a client will show to go on with a run; nobody can guess it."""
    return uuid4().hex


def thread_of(scope: str, ticket: str) -> str:
    """The thread of a run; with the ticket of another key or model it is one that there is not."""
    return f"{ticket}-{hashlib.blake2b(scope.encode(), digest_size=16).hexdigest()}"


def approval_of(turns: Sequence[ChatMessage]) -> Approval | None:
    """The answer to a waiting call that a dialogue ends with.

    Raises:
        RequestError: it is neither yes nor no.
    """
    last = turns[-1]
    if last.role != "tool" or last.tool_call_id is None or not last.tool_call_id.startswith(_WAITS):
        return None
    said = last.text.strip().casefold()
    if said not in ("yes", "no"):
        raise RequestError(
            f"expected yes or no to a call that waits, found {last.text[:80]!r}. The call is made here: let the user decide"
        )
    ticket, _, call = last.tool_call_id.removeprefix(_WAITS).partition("_")
    return Approval(ticket, call, said == "yes")


@contextmanager
def alone(going: set[str], thread: str | None) -> Iterator[None]:
    """Keeps a second answer to one run out while the first is at work.

    Raises:
        Refused: there is such a one.
    """
    if thread is None:
        yield
        return
    if thread in going:
        raise Refused(
            "expected one answer to a call that waits, found a second one at the same time. Wait for the first",
            status=409, code="answered_already", headers={"x-should-retry": "false"},
        )  # fmt: skip
    going.add(thread)
    try:
        yield
    finally:
        going.discard(thread)
