"""A circuit breaker: when to leave a replica alone, and when to trust it again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Closed: in use. Open: down, nothing is sent. Half-open: one request at a time, to see whether it is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True)
class Tolerance:
    """What a replica may do wrong before its circuit opens.

    Attributes:
        consecutive: so many failures in a row are too many.
        share: so large a part of the last ``window`` outcomes is, too.
    """

    consecutive: int = 5
    share: float = 0.5
    window: int = 20


class Circuit:
    """The state of one replica. It holds no clock: whoever probes the replica decides when, and tells ``probed``.

    Attributes:
        state: what may be sent.
        openings: how often the circuit opened. An outcome counts only if the circuit did not open since its request
            was sent: a request lost with a dead server says nothing about the one that was started in its place.
    """

    def __init__(self, tolerance: Tolerance) -> None:
        self.state = State.CLOSED
        self.openings = 0
        self._tolerance = tolerance
        self._in_a_row = 0
        self._failures: deque[bool] = deque(maxlen=tolerance.window)

    def succeeded(self, openings: int) -> None:
        """A request that was sent at that value of ``openings`` has been answered."""
        if openings != self.openings:
            return
        if self.state is State.HALF_OPEN:
            self._close()
        self._in_a_row = 0
        self._failures.append(False)

    def failed(self, openings: int) -> None:
        """A request that was sent at that value of ``openings`` has failed, and it was the replica's fault."""
        if openings != self.openings:
            return
        self._in_a_row += 1
        self._failures.append(True)
        if self.state is State.HALF_OPEN or self._too_many():
            self.open()

    def probed(self, healthy: bool) -> None:
        """The replica was asked how it is.

        A healthy answer makes an open circuit half-open; the next one closes it if no request has failed since, so
        that a single slow request does not keep the others waiting. An unhealthy one counts as a failure.
        """
        if not healthy:
            self.failed(self.openings)
        elif self.state is State.OPEN:
            self.state = State.HALF_OPEN
        elif self.state is State.HALF_OPEN:
            self._close()

    def open(self) -> None:
        """Stops everything until a probe finds the replica healthy."""
        if self.state is not State.OPEN:
            self.state = State.OPEN
            self.openings += 1

    def _close(self) -> None:
        self.state = State.CLOSED
        self._in_a_row = 0
        self._failures.clear()

    def _too_many(self) -> bool:
        window = self._tolerance.window
        return self._in_a_row >= self._tolerance.consecutive or (
            len(self._failures) == window and sum(self._failures) >= self._tolerance.share * window
        )
