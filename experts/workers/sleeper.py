"""Sends an idle server to sleep, and wakes it when a request is there.

Clients need not know: a sleeping vLLM accepts requests and keeps them until it is awake again, so that the first one after
a pause only takes longer.
"""

from __future__ import annotations

from experts.workers.probe import Probe


class Sleeper:
    """Watches how busy one server is.

    Args:
        after: idle seconds until it is sent to sleep.
        now: the time, of a clock that never goes back.
    """

    def __init__(self, after: float, now: float) -> None:
        self._after = after
        self._busy_at = now
        self._finished = 0.0
        self.asleep = False

    async def check(self, probe: Probe, now: float) -> None:
        """Looks once. Raises httpx.HTTPError when the server does not answer."""
        in_flight, finished = await probe.activity()
        if in_flight or finished != self._finished:
            self._busy_at = now
        self._finished = finished
        if self.asleep and in_flight:
            await probe.wake_up()
            self.asleep = False
        elif not self.asleep and now - self._busy_at >= self._after:
            await probe.sleep()
            self.asleep = True
