"""The right to send one request to one replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

from experts.engines.replicas.replica import Replica
from experts.errors import EngineOverloaded, EngineUnavailable

T = TypeVar("T")


class Lease:
    """Counts as one outstanding request of the replica until it is finished, and tells the replica how it went.

    As a context manager it finishes with the block. Only an unavailable engine speaks against the replica: a wrong
    request, a passed deadline or a cancelled caller says nothing about it, and an overloaded one is at work.

    Args:
        changed: called with the lease when the replica may be able to take more.

    Attributes:
        served: it is finished, and the whole answer came.
    """

    def __init__(self, replica: Replica, changed: Callable[[Lease], None]) -> None:
        self.replica = replica
        self._changed = changed
        self._openings = replica.circuit.openings
        self._started = time.monotonic()
        self._answered = False
        self.served = False
        self._waiting: asyncio.Task[Any] | None = None
        self._given_up = False
        replica.leases.add(self)

    @property
    def seconds(self) -> float:
        """How long it has been held."""
        return time.monotonic() - self._started

    async def wait(self, work: Awaitable[T]) -> T:
        """The outcome of what the replica does.

        Raises:
            EngineUnavailable: the replica was given up meanwhile.
        """
        # What asyncio.timeout does, without its cost: this runs for every chunk of a stream.
        self._waiting = task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        try:
            return await work
        except asyncio.CancelledError as error:
            if not self._given_up or task.uncancel() > cancelling:
                raise
            raise EngineUnavailable(
                f"expected an answer of {self.replica.name}, found that it hangs: {self.replica.last_error}. Try again"
            ) from error
        finally:
            self._waiting = None

    def give_up(self) -> None:
        """Stops waiting for the replica. What its caller does between two chunks of a stream is not disturbed.

        May be called from the thread of another event loop.
        """
        if (task := self._waiting) is not None:
            task.get_loop().call_soon_threadsafe(self._give_up)

    def _give_up(self) -> None:
        if self._waiting is not None and not self._given_up:
            self._given_up = True
            self._waiting.cancel()

    def answered(self) -> None:
        """The replica has begun to answer."""
        if not self._answered:
            self._answered = True
            self.replica.circuit.succeeded(self._openings)
            self._changed(self)

    def finish(self, error: BaseException | None = None) -> None:
        """Gives the place back."""
        self.replica.leases.remove(self)
        if error is None:
            self.answered()
            self.served = True
            self.replica.served += 1
        elif isinstance(error, EngineUnavailable):
            self.replica.failed += 1
            self.replica.last_error = str(error)
            if not isinstance(error, EngineOverloaded):
                self.replica.circuit.failed(self._openings)
        self._changed(self)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish(error)
