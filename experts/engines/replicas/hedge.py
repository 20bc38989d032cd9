"""Asking a second replica when the first is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from experts.engines.base import Engine
from experts.engines.replicas.lease import Lease
from experts.errors import EngineUnavailable

T = TypeVar("T")


async def hedged(
    lease: Lease, spare: Callable[[], Lease | None], use: Callable[[Engine], Awaitable[T]], after: float
) -> T:
    """The first answer; the other request is cancelled. Both leases are finished.

    Args:
        lease: who is asked first.
        spare: who is asked too, ``after`` seconds later; None if nobody is free then.

    Raises:
        EngineUnavailable: all who were asked are.
    """
    asked = [_ask(lease, use)]
    try:
        done, _ = await asyncio.wait(asked, timeout=after)
        if not done and (second := spare()):
            asked.append(_ask(second, use))
        return await _first(asked)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)


def _ask(lease: Lease, use: Callable[[Engine], Awaitable[T]]) -> asyncio.Task[T]:
    async def answer() -> T:
        return await lease.wait(use(lease.replica.engine))

    task = asyncio.create_task(answer())
    # A task that is cancelled before its first step would never enter a with block; its callbacks do run.
    task.add_done_callback(lambda _: lease.finish(asyncio.CancelledError() if task.cancelled() else task.exception()))
    return task


async def _first(tasks: list[asyncio.Task[T]]) -> T:
    lost: EngineUnavailable | None = None
    for task in asyncio.as_completed(tasks):
        try:
            return await task
        except EngineUnavailable as error:
            lost = error
    assert lost is not None
    raise lost
