"""One of several engines: what it works on, how it is, what it has done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from experts.engines.base import Engine
from experts.engines.replicas.circuit import Circuit, State

if TYPE_CHECKING:
    from experts.engines.replicas.lease import Lease


@dataclass(eq=False)
class Replica:
    """An engine under watch.

    Attributes:
        name: tells it from the others; the base URL of a server.
        max_concurrency: requests that it works on at a time when all is well.
        leases: what it works on now.
        served: requests that it has answered.
        failed: requests that it has lost.
        retried: requests of these that were sent again, here or elsewhere.
        last_error: the message of the last failure.
    """

    name: str
    engine: Engine
    circuit: Circuit
    max_concurrency: int
    leases: set[Lease] = field(default_factory=set)
    served: int = 0
    failed: int = 0
    retried: int = 0
    last_error: str = ""

    @property
    def outstanding(self) -> int:
        """Requests that it works on now."""
        return len(self.leases)

    @property
    def up(self) -> bool:
        """Whether anything may be sent at all."""
        return self.circuit.state is not State.OPEN

    @property
    def free(self) -> bool:
        """Whether another request may be sent now."""
        match self.circuit.state:
            case State.CLOSED:
                return self.outstanding < self.max_concurrency
            case State.HALF_OPEN:
                return self.outstanding == 0
            case State.OPEN:
                return False

    def give_up(self) -> None:
        """Ends all it works on with EngineUnavailable, so that nobody waits for a server that hangs."""
        for lease in tuple(self.leases):
            lease.give_up()
