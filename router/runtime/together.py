"""Several visits of one node in one superstep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langgraph.types import Command

from router.runtime.work import Spent


def seconds_of(parts: Sequence[Command[str]]) -> float:
    """How long visits took."""
    milliseconds: float = sum(event["milliseconds"] for update in _updates(parts) for event in update["events"])
    return milliseconds / 1000


def together(parts: Sequence[Command[str]], later: Sequence[str]) -> Command[str]:
    """One command of these visits, and of the nodes whose turn comes later."""
    if len(parts) == 1 and not later:
        return parts[0]
    updates = _updates(parts)
    return Command(
        update={
            "events": [event for u in updates for event in u["events"]],
            "spent": Spent(
                steps=sum(u["spent"]["steps"] for u in updates),
                tokens=sum(u["spent"]["tokens"] for u in updates),
                cost=sum(u["spent"]["cost"] for u in updates),
            ),
            "inbox": {key: task for u in updates for key, task in u["inbox"].items()},
            "replies": [reply for u in updates for reply in u["replies"]],
        },
        goto=list(dict.fromkeys([*(target for part in parts for target in part.goto), *later])),  # type: ignore[union-attr]
    )


def _updates(parts: Sequence[Command[str]]) -> list[dict[str, Any]]:
    return [dict(part.update) for part in parts]  # type: ignore[arg-type]
