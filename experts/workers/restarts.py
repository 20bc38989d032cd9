"""When is a server that crashed started again?"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Care:
    """How a supervisor treats its servers; all times in seconds.

    Attributes:
        check: between two looks at a server.
        start: until a server must be healthy.
        silence: how long a healthy server may leave health checks without an answer.
        grace: between asking a server to end and killing it.
        wait: before the first restart; it doubles with each further one, up to ``longest_wait``.
        restarts: how often within ``window`` a server is started again before it is given up.
    """

    check: float = 0.5
    start: float = 1800.0
    silence: float = 60.0
    grace: float = 15.0
    wait: float = 1.0
    longest_wait: float = 60.0
    restarts: int = 6
    window: float = 600.0


class Restarts:
    """The crashes of one server, and what follows from them."""

    def __init__(self, care: Care) -> None:
        self._care = care
        self._crashes: deque[float] = deque()
        self.count = 0

    def wait(self, now: float) -> float | None:
        """Takes note of a crash at time ``now``; returns the seconds until the next start, None to give up."""
        care = self._care
        while self._crashes and self._crashes[0] <= now - care.window:
            self._crashes.popleft()
        if len(self._crashes) >= care.restarts:
            return None
        wait: float = min(care.longest_wait, care.wait * 2.0 ** len(self._crashes))
        self._crashes.append(now)
        self.count += 1
        return wait
