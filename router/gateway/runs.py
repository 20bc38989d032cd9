"""The runs of one request: one for each of ``n`` choices, together, as answers or as streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from router.errors import NothingPending
from router.gateway.gateway import Call
from router.gateway.own_calls import Approval
from router.runtime.query import Prompt, Query
from router.runtime.result import RunResult
from router.runtime.router import Router, RunOptions
from router.trace import Delta, Event
from router.types import NodeId

Send = Callable[[Delta | Event], None]


@dataclass(frozen=True)
class Ask:
    """What one run is asked; ``node`` alone, or the graph.

    Attributes:
        thread: keeps the run while a call of it waits.
        approval: goes on with the run of the thread instead.
    """

    query: Query | Prompt
    node: NodeId | None
    options: RunOptions
    thread: str | None = None
    approval: Approval | None = None


async def run_all(call: Call, asks: Sequence[Ask], sends: Sequence[Send] | None = None) -> list[RunResult]:
    """Runs side by side; the first that fails ends the others. The call notes what they take.

    Args:
        sends: for each run, what receives its text and events as they come.

    Raises:
        DeadlineExceeded: the request's deadline has passed.
        TokengraphError: that of the run that failed.
    """
    router = call.deployment.router
    each = [
        (replace(ask, options=replace(ask.options, listener=call.listener())), None if sends is None else sends[place])
        for place, ask in enumerate(asks)
    ]
    async with call.in_time():
        return [await _run(router, *each[0])] if len(each) == 1 else await _side_by_side(router, each)


async def _side_by_side(router: Router, each: Sequence[tuple[Ask, Send | None]]) -> list[RunResult]:
    tasks = [asyncio.ensure_future(_run(router, ask, send)) for ask, send in each]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(router: Router, ask: Ask, send: Send | None) -> RunResult:
    if ask.thread is None:
        return await router.arun(ask.query, options=ask.options, node=ask.node, send=send)
    waits = False
    try:
        if ask.approval is None:
            result = await router.arun(ask.query, options=ask.options, thread_id=ask.thread, send=send)
        else:
            yes, call = ask.approval.yes, ask.approval.call
            # A yes that fails may have had its effect: said once more, as clients do by themselves, it would have another.
            waits = not yes
            result = await router.aresume(ask.thread, approve=yes, call=call, options=ask.options)
        waits = result.pending is not None
        return result
    except NothingPending:
        waits = True  # what was answered is not the call that waits
        raise
    finally:
        if not waits:
            await router.aforget(ask.thread)
