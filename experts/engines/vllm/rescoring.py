"""Asks again for alternatives that vLLM has lost.

A server with vLLM's first model runner (that of the CPU build) reports no alternatives to a token that was drawn in
one step with a request for log-probabilities of named tokens: it has room for one kind in a step. Nothing in its
answer says so, but there are fewer than were asked for. What was drawn is right. So each such token is drawn again,
as the only one allowed, until it is drawn in a step of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from experts.engines.answer import Draw
from experts.engines.requests import Generation, TokenId
from experts.errors import EngineOverloaded

_ROUNDS = 10
_FIRST_PAUSE = 0.01
# What vLLM writes for minus infinity.
_NOTHING = -9999.0


def known(logprobs: dict[TokenId, float]) -> dict[TokenId, float]:
    """Those that the server did report."""
    return {token: value for token, value in logprobs.items() if value > _NOTHING}


async def rescored(generation: Generation, wanted: int, again: Callable[[int], Awaitable[Draw]]) -> Generation:
    """The generation with all of its alternatives.

    Args:
        wanted: alternatives per token.
        again: draws the token at a position of the answer once more.

    Raises:
        EngineOverloaded: no step was free for seconds.
    """
    lost = list(range(1 if generation.first_logprobs else 0, len(generation.token_ids)))
    logprobs, tops = list(generation.logprobs), list(generation.top_logprobs)
    for attempt in range(_ROUNDS):
        lost = [at for at in lost if len(tops[at]) < wanted]
        if not lost:
            return replace(generation, logprobs=tuple(logprobs), top_logprobs=tuple(tops))
        for at, draw in zip(lost, await asyncio.gather(*map(again, lost)), strict=True):
            logprobs[at], tops[at] = draw.logprob, draw.top or {}
        await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
    raise EngineOverloaded(
        "expected alternatives to each token, found that vLLM loses them beside other requests that name tokens. "
        "Try later, ask for no top_logprobs, or give the nodes workers of their own",
        retry_after=1.0,
    )
