"""The queue in front of several replicas: who waits, who is next, who comes too late."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import RLock

from experts.engines.replicas.balance import choose
from experts.engines.replicas.lease import Lease
from experts.engines.replicas.replica import Replica
from experts.errors import DeadlineExceeded, EngineError, EngineOverloaded, EngineUnavailable

_MEMORY = 0.1
_FIRST_GUESS = 1.0


@dataclass(eq=False)
class _Waiter:
    future: asyncio.Future[Lease]
    key: bytes | None
    tried: Collection[Replica]

    def settle(self, outcome: Lease | EngineError) -> None:
        """Ends the waiting; may be called from the thread of another event loop."""
        self.future.get_loop().call_soon_threadsafe(self.settle_here, outcome)

    def settle_here(self, outcome: Lease | EngineError) -> None:
        if isinstance(outcome, EngineError):
            if not self.future.done():
                self.future.set_exception(outcome)
        elif self.future.done():  # whoever waited has gone away
            outcome.finish(asyncio.CancelledError())
        else:
            self.future.set_result(outcome)


class Queue:
    """Gives each request a place at a replica: at once if one is free, else in the order of arrival.

    Requests may come from several event loops, each in a thread of its own.

    Args:
        limit: how many may wait.

    Attributes:
        refused: requests that found too many waiting.
        seconds: how long a replica holds a request, the recent ones weighing most; None before the first.
        closed: nobody is let in any more.
    """

    def __init__(self, model: str, replicas: Sequence[Replica], limit: int) -> None:
        self.refused = 0
        self.seconds: float | None = None
        self.closed = False
        self._model = model
        self._replicas = replicas
        self._limit = limit
        self._waiting: deque[_Waiter] = deque()
        self._lock = RLock()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    async def acquire(
        self, key: bytes | None = None, deadline: float | None = None, tried: Collection[Replica] = ()
    ) -> Lease:
        """Waits for a place at a replica that has not been tried; at any that is up, if all of those have been.

        Args:
            key: where the request is at home, see ``choose``.
            deadline: value of ``time.monotonic()`` up to which to wait.
            tried: replicas that have failed this request. A request that comes back is next, and never refused.

        Raises:
            EngineUnavailable: every replica is down, or the queue was closed.
            EngineOverloaded: too many wait already.
            DeadlineExceeded: no place was free in time.
        """
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise self._too_late()
        with self._lock:
            self._check_up()
            # Nobody is overtaken: ``dispatch`` has left no place free that anybody who waits could take.
            if lease := self.try_acquire(key, tried):
                return lease
            if self.waiting >= self._limit and not tried:
                self.refused += 1
                raise self._too_many()
            waiter = _Waiter(asyncio.get_running_loop().create_future(), key, tried)
            (self._waiting.appendleft if tried else self._waiting.append)(waiter)
        return await self._wait(waiter, left)

    def try_acquire(self, key: bytes | None, tried: Collection[Replica]) -> Lease | None:
        """A place that is free now, or None."""
        with self._lock:
            replica = choose(self._candidates(tried), key)
            return Lease(replica, self._changed) if replica else None

    def untried(self, tried: Collection[Replica]) -> list[Replica]:
        """The replicas that are up and have not been tried."""
        return [replica for replica in self._replicas if replica.up and replica not in tried]

    def dispatch(self) -> None:
        """Lets in whoever can be served now. To be called after a circuit changed; a lease calls it itself."""
        with self._lock:
            if not any(replica.up for replica in self._replicas):
                self._fail_all(self._down)
            still: deque[_Waiter] = deque()
            while self._waiting and any(replica.free for replica in self._replicas):
                waiter = self._waiting.popleft()
                if lease := self.try_acquire(waiter.key, waiter.tried):
                    waiter.settle(lease)
                else:
                    still.append(waiter)
            self._waiting.extendleft(reversed(still))

    def close(self) -> None:
        """Fails all who wait and all who come."""
        with self._lock:
            self.closed = True
            self._fail_all(self._gone)

    async def _wait(self, waiter: _Waiter, left: float | None) -> Lease:
        loop = waiter.future.get_loop()
        timer = None if left is None else loop.call_later(left, lambda: waiter.settle_here(self._too_late()))
        try:
            return await waiter.future
        except asyncio.CancelledError as cancelled:
            # The caller may go away after a place was given and before it took it.
            if not waiter.future.cancelled() and not waiter.future.exception():
                waiter.future.result().finish(cancelled)
            raise
        finally:
            if timer:
                timer.cancel()
            with self._lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)

    def _candidates(self, tried: Collection[Replica]) -> Sequence[Replica]:
        return (self.untried(tried) or self._replicas) if tried else self._replicas

    def _changed(self, lease: Lease) -> None:
        if lease.served:
            recent = lease.seconds if self.seconds is None else self.seconds
            self.seconds = recent + _MEMORY * (lease.seconds - recent)
        self.dispatch()

    def _fail_all(self, error: Callable[[], EngineError]) -> None:
        while self._waiting:
            self._waiting.popleft().settle(error())

    def _check_up(self) -> None:
        if self.closed:
            raise self._gone()
        if not any(replica.up for replica in self._replicas):
            raise self._down()

    def _gone(self) -> EngineUnavailable:
        return EngineUnavailable(f"expected an open engine, found {self._model} closed. Start the engine anew")

    def _down(self) -> EngineUnavailable:
        found = "; ".join(f"{replica.name}: {replica.last_error}" for replica in self._replicas)
        return EngineUnavailable(
            f"expected a replica of {self._model} that is up, found none ({found}). They are used again as soon as "
            "they are healthy; if they do not come back, see their logs"
        )

    def _too_many(self) -> EngineOverloaded:
        places = sum(replica.max_concurrency for replica in self._replicas if replica.up)
        seconds = (_FIRST_GUESS if self.seconds is None else self.seconds) * (self.waiting + 1) / places
        return EngineOverloaded(
            f"expected at most {self._limit} requests waiting for {self._model}, found as many already. "
            f"Try again in {seconds:.1f} s, or add replicas",
            retry_after=seconds,
        )

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"expected a free replica of {self._model} before the request's deadline, found {self.waiting} requests "
            "waiting. Allow more time, or add replicas"
        )
