"""Calling async code from sync code, also from inside a running event loop (a notebook): one background event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from functools import cache
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import ParamSpec, TypeVar

from router.errors import RunError

P = ParamSpec("P")
T = TypeVar("T")

_LOCK = Lock()


def call(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs an async function in the background loop, in the caller's context, and waits for it.

    A caller that is interrupted (Ctrl-C) cancels it.

    Raises:
        RunError: the caller runs in the background loop itself, so waiting would never end.
    """

    async def work() -> T:
        return await function(*args, **kwargs)

    future = _submit(work)
    try:
        return future.result()
    finally:
        future.cancel()


def iterate(make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """The items of an async generator that runs in the background loop; closing the iterator early stops it."""
    items: SimpleQueue[tuple[T] | None] = SimpleQueue()
    ended = Event()

    async def pump() -> None:
        try:
            async with aclosing(make()) as source:  # type: ignore[type-var]
                async for item in source:
                    items.put((item,))
        finally:
            items.put(None)
            ended.set()

    future = _submit(pump)
    try:
        while (item := items.get()) is not None:
            yield item[0]
        future.result()
    finally:
        future.cancel()
        ended.wait()  # what the run holds (its checkpoint file, say) is free again when this returns


def _submit(work: Callable[[], Awaitable[T]]) -> Future[T]:
    loop = _loop()
    if asyncio._get_running_loop() is loop:
        raise RunError(
            "expected a sync call from outside of tokengraph's own event loop, found one from inside (a tool or an "
            "engine that calls a Router). Await the method that starts with `a` there"
        )
    return asyncio.run_coroutine_threadsafe(work(), loop)  # type: ignore[arg-type]


def _loop() -> asyncio.AbstractEventLoop:
    with _LOCK:  # threads that come at the same time get the same loop
        return _start()


@cache
def _start() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, name="tokengraph", daemon=True).start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_start.cache_clear)  # threads do not survive a fork
    return loop
