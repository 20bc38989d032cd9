"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.errors import RunError
from router.tools.ask import PendingCall
from router.trace import EVENT, Answered, Event, Pick, Routed


@dataclass(frozen=True)
class Usage:
    """What a run took, or the part of one that goes on after it waited for the user.

    Attributes:
        activated_parameters: weights used per written token, averaged over the written tokens (R2R's cost axis).
        large_share: of the tokens that pairs of models wrote, those of the large ones; None if there was no pair.
        seconds: wall-clock time.
        cost: sum of the costs of the edges taken.
    """

    prompt_tokens: int
    generated_tokens: int
    activated_parameters: float
    steps: int
    seconds: float
    cost: float
    large_share: float | None = None


@dataclass(frozen=True)
class RunResult:
    """An answer and how it came about.

    Attributes:
        answer: the answer, or the honest word that there is none; empty while a call is pending.
        route: the functional tokens chosen on the way, in order; a pick of node None is an abstention.
        events: the trace.
        thread_id: the conversation that the run belongs to, if any.
        pending: the call that the run waits with until the user agrees; ``resume(thread_id, approve=...)`` goes on.
    """

    query: str
    answer: str
    route: tuple[Pick, ...]
    usage: Usage
    events: tuple[Event, ...]
    thread_id: str | None = None
    pending: PendingCall | None = None

    @property
    def abstained(self) -> bool:
        """Whether a router found no node for the query."""
        return any(pick.node is None for pick in self.route)


def route_of(events: Sequence[Event]) -> tuple[Pick, ...]:
    """The functional tokens chosen in a trace."""
    route: list[Pick] = []
    for event in events:
        if isinstance(event, Routed):
            nobody = (pick for pick in event.alternatives if pick.node is None)
            route += event.chosen or [next(nobody, Pick(node=None, token="", probability=0.0))]
        elif isinstance(event, Answered) and event.chosen is not None:
            route.append(event.chosen)
    return tuple(route)


def usage_of(events: Sequence[Event], *, seconds: float, cost: float) -> Usage:
    """Adds up a trace."""
    generated = sum(event.generated_tokens for event in events)
    activated = sum(event.generated_tokens * event.activated_parameters for event in events)
    pairs = [(e.pair, e.generated_tokens) for e in events if isinstance(e, Answered) and e.pair is not None]
    by_pairs = sum(tokens for _, tokens in pairs)
    return Usage(
        prompt_tokens=sum(event.prompt_tokens for event in events), generated_tokens=generated,
        activated_parameters=activated / generated if generated else 0.0, steps=len(events), seconds=seconds, cost=cost,
        large_share=sum(pair.large_share * tokens for pair, tokens in pairs) / by_pairs if by_pairs else None,
    )  # fmt: skip


def result_of(
    output: Mapping[str, Any], query: str, *, seconds: float, thread_id: str | None, pending: PendingCall | None = None,
    told: Mapping[str, Any] | None = None,
) -> RunResult:  # fmt: skip
    """A compiled graph's output as a typed result.

    Args:
        told: the output that an earlier result of the run was made of; the usage is of what came after.

    Raises:
        RunError: the run ended without an answer, and not because a call is pending.
    """
    if output.get("answer") is None and pending is None:
        raise RunError(
            "expected an answer at the end of the run, found none. If the graph was changed since the run began, run "
            "the query anew"
        )
    events = tuple(EVENT.validate_python(event) for event in output["events"])
    new, cost = events, output["spent"]["cost"]
    if told is not None:
        new, cost = events[len(told["events"]) :], cost - told["spent"]["cost"]
    usage = usage_of(new, seconds=seconds, cost=cost)
    return RunResult(query, output["answer"] or "", route_of(events), usage, events, thread_id, pending)
