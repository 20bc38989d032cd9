"""The log-probabilities of an answer, as plain data for the trace."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

from experts.engines.base import Engine
from experts.engines.requests import Generation, TokenId
from router.trace import TokenLogprob

_WINDOW = 4  # a token's text depends on the tokens just before it: white space, parts of one character


def token_logprobs(engine: Engine, generation: Generation, working: str) -> tuple[TokenLogprob, ...]:
    """One entry a token of the answer; what it worked out before, and what ended it, are left out."""
    ids = generation.token_ids
    found: list[TokenLogprob] = []
    written = 0
    tops: Iterable[dict[TokenId, float]] = generation.top_logprobs or repeat({})
    for place, (token_id, logprob, top) in enumerate(zip(ids, generation.logprobs, tops, strict=False)):
        if written >= len(generation.text):
            break
        before = ids[max(0, place - _WINDOW) : place]
        text = engine.decode((*before, token_id))[len(engine.decode(before)) :]
        if written >= len(working):
            alternatives = tuple((engine.decode((other,)), value) for other, value in top.items())
            found.append(TokenLogprob(token=text, logprob=logprob, top=alternatives))
        written += len(text)
    return tuple(found)
