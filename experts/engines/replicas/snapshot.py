"""What several replicas do at one moment, as plain data: for metrics and status pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from experts.engines.replicas.circuit import State
from experts.engines.replicas.queue import Queue
from experts.engines.replicas.replica import Replica


@dataclass(frozen=True)
class ReplicaSnapshot:
    """One replica; the counts are since the start. See ``Replica``."""

    name: str
    state: State
    outstanding: int
    served: int
    failed: int
    retried: int
    last_error: str


@dataclass(frozen=True)
class Snapshot:
    """All of them.

    Attributes:
        waiting: requests in the queue.
        refused: requests that found the queue full, since the start.
        seconds: recent mean time of a request at a replica; None before the first.
        draining: no new requests are taken.
    """

    model: str
    waiting: int
    refused: int
    seconds: float | None
    draining: bool
    replicas: tuple[ReplicaSnapshot, ...]


def take_snapshot(model: str, replicas: Iterable[Replica], queue: Queue, draining: bool) -> Snapshot:
    """Copies the numbers."""
    return Snapshot(
        model=model,
        waiting=queue.waiting,
        refused=queue.refused,
        seconds=queue.seconds,
        draining=draining,
        replicas=tuple(
            ReplicaSnapshot(r.name, r.circuit.state, r.outstanding, r.served, r.failed, r.retried, r.last_error)
            for r in replicas
        ),
    )
