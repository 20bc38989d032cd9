"""Server-sent events, written while a run makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from router.errors import TokengraphError
from router.gateway.errors import ClientGone, problem_of
from router.gateway.exchange import Exchange

_DONE = b"data: [DONE]\n\n"


async def send_events(
    exchange: Exchange, make: Callable[[Callable[[object], None]], Coroutine[Any, Any, None]]
) -> None:
    """Sends what ``make`` puts, what is there at once in one piece, and at last ``[DONE]``.

    The response starts with the first event. An error after that becomes an event and ends the stream.

    Raises:
        TokengraphError: ``make`` failed before the first event: an ordinary response can still say so.
    """
    waiting: list[bytes] = []
    wake = asyncio.Event()

    def put(event: object) -> None:
        waiting.append(b"data: %b\n\n" % orjson.dumps(event))
        wake.set()

    task = asyncio.ensure_future(make(put))
    task.add_done_callback(lambda _: wake.set())
    try:
        while not task.done() or waiting:
            await wake.wait()
            wake.clear()
            if waiting:
                content = b"".join(waiting)
                waiting.clear()
                if not (task.done() and task.exception() is None):
                    await exchange.part(content)
                    continue
                await exchange.part(content + _DONE, last=True)
                return
        task.result()
        await exchange.part(_DONE, last=True)
    except TokengraphError as error:
        if not exchange.status or isinstance(error, ClientGone):
            raise
        exchange.said["error"] = type(error).__name__
        await exchange.part(b"data: %b\n\n" % orjson.dumps(problem_of(error).body), last=True)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)  # the engine's stream is closed when this returns
