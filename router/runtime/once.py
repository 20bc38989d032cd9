"""Things that are made once, when first needed, from whichever event loop needs them first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """A table of things by key; who comes second waits for the first. A failure is not kept: the next try is anew."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: dict[Hashable, Future[T | None]] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The thing of that key, made by ``make`` if there is none yet."""
        while True:
            with self._lock:
                future = self._made.get(key)
                if future is None:
                    mine: Future[T | None] = Future()
                    mine.set_running_or_notify_cancel()  # so who stops waiting does not cancel it for the others
                    self._made[key] = mine
                    break
            thing = await asyncio.wrap_future(future)
            if thing is not None:
                return thing
        try:
            thing = await make()
        except BaseException as error:
            with self._lock:
                if self._made.get(key) is mine:
                    del self._made[key]
            if isinstance(error, Exception):
                mine.set_exception(error)
            else:
                mine.set_result(None)  # who made it was cancelled: one of those who wait takes over
            raise
        mine.set_result(thing)
        return thing

    def clear(self) -> list[T]:
        """Empties the table and returns what was in it."""
        with self._lock:
            made, self._made = self._made, {}
        results = (future.result() for future in made.values() if future.done() and future.exception() is None)
        return [thing for thing in results if thing is not None]
