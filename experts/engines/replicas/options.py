"""How several replicas work as one engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from experts.engines.replicas.circuit import Tolerance


@dataclass(frozen=True)
class ReplicaOptions:
    """Limits and patience; times are in seconds.

    Attributes:
        max_concurrency: requests that one replica works on at a time.
        queue: requests that may wait for a free replica, in all.
        repeats: how often a request is tried again once every replica that is up has failed it.
        pause: the longest pause before the first of these; it doubles with each, and a random part of it is taken.
        hedge_after: if a replica has not answered after so long, a second one is asked too, and the first answer
            wins. None: never. Streams are not hedged.
        probe_every: how often a replica that is down is asked whether it is back.
        check_every: how often one that is up is asked whether it still is.
        probe_timeout: how long the answer to either may take.
        tolerance: when a replica counts as down.
    """

    max_concurrency: int = 64
    queue: int = 256
    repeats: int = 2
    pause: float = 0.005
    hedge_after: float | None = None
    probe_every: float = 0.5
    check_every: float = 5.0
    probe_timeout: float = 1.0
    tolerance: Tolerance = field(default_factory=Tolerance)
