"""What a visit of a node is given and what it must do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from experts.engines.requests import Message
from router.runtime.budget import Allowance
from router.runtime.meter import Meter
from router.runtime.moves import Outcome
from router.runtime.options import NO_OPTIONS, RunOptions
from router.runtime.query import Prompt
from router.runtime.work import Task
from router.tools.ask import Consent


@dataclass(frozen=True)
class Visit:
    """One visit of a node.

    Attributes:
        query: what it is asked; a join, the user's own words.
        tasks: where the query came from; several only for a join.
        history: the dialogue before the user's last turn.
        allowance: what it may use.
        write: receives text as it is written; None if nobody listens.
        options: what the caller asked of the run.
        consent: asks the user before a call that has side effects; None if nobody can be asked.
        asked: what the caller asked of this very node, if it named one: the dialogue as it is, or a prompt.
        meter: counts what its models read and write, for the case that it does not end.
    """

    query: str
    tasks: Sequence[Task]
    history: tuple[Message, ...]
    allowance: Allowance
    write: Callable[[str], None] | None
    options: RunOptions = NO_OPTIONS
    asked: tuple[Message, ...] | Prompt | None = None
    consent: Consent | None = None
    meter: Meter = field(default_factory=Meter)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The dialogue with this visit's query as its last turn."""
        if isinstance(self.asked, tuple):
            return self.asked
        return (*self.history, Message("user", self.query))


class Visitor(Protocol):
    """Does what a node does.

    An EngineError or a ToolError is a failure that the graph can answer by an error or fallback edge; other errors end the run.
    """

    async def load(self, visit: Visit) -> None:
        """Loads the models of a visit that run in this process, unless it asks for what they cannot do at all.

        Only the first visit has to wait for that, on a busy machine for long: it is no part of a run's seconds. What
        others keep waiting (a server, the start of a tool) is, so that it is bounded.
        """
        ...

    async def visit(self, visit: Visit) -> Outcome: ...
