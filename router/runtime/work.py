"""What travels through a run: plain data, so that checkpoints need no code to be read.

Work travels in the inbox: a visit takes the tasks that are addressed to its node and puts tasks for the next ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict


class Reply(TypedDict):
    """An answer on its way."""

    node: str
    text: str
    logprob: float


class Task(TypedDict):
    """A query addressed to a node.

    ``id`` is a path: a branch that forks gets one more number for each of its ways, and no pending id begins another.
    ``elapsed`` is the time in seconds that the visits before it took, along the slowest path.
    """

    id: str
    node: str
    query: str
    source: str | None
    reply: Reply | None
    elapsed: float


class Spent(TypedDict):
    """What a run has used of its budget."""

    steps: int
    tokens: int
    cost: float


EVERY = "*"
NOTHING_SPENT: Spent = {"steps": 0, "tokens": 0, "cost": 0.0}


def task_order(task: Task) -> tuple[int, ...]:
    """Sorts tasks by their path, the tenth way after the ninth."""
    return tuple(map(int, task["id"].split(".")))


def merge_inbox(old: Mapping[str, Task | None], new: Mapping[str, Task | None]) -> dict[str, Task]:
    """Puts tasks by id; an id that maps to None was taken, and ``EVERY`` mapping to None takes whatever was there."""
    kept = {} if EVERY in new else old
    return {key: task for key, task in {**kept, **new}.items() if task is not None}


def add_spent(old: Spent, new: Spent | None) -> Spent:
    """Adds up; None starts anew."""
    if new is None or not old:
        return new or NOTHING_SPENT
    return {
        "steps": old["steps"] + new["steps"],
        "tokens": old["tokens"] + new["tokens"],
        "cost": old["cost"] + new["cost"],
    }


def append(old: list[Any], new: list[Any] | None) -> list[Any]:
    """Appends; None starts anew."""
    return [] if new is None else [*old, *new]
