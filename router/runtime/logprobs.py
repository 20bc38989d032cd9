"""The tokens of an answer, as plain data for the trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

from experts.engines.base import Engine
from experts.engines.requests import Generation, TokenId
from router.trace import TokenLogprob

_WINDOW = 4  # a token's text depends on the tokens just before it: white space, parts of one character


def token_texts(engine: Engine, ids: Sequence[TokenId]) -> Iterator[str]:
    """The text of each token of an answer where it stands, special tokens included."""
    for place, token_id in enumerate(ids):
        before = ids[max(0, place - _WINDOW) : place]
        yield engine.decode((*before, token_id))[len(engine.decode(before)) :]


def token_logprobs(engine: Engine, generation: Generation, working: str, answer: str) -> tuple[TokenLogprob, ...]:
    """One entry a token of the answer; what it worked out before, and what ended it, are left out."""
    found: list[TokenLogprob] = []
    begin = generation.text.index(answer, len(working))
    tops: Iterable[dict[TokenId, float]] = generation.top_logprobs or repeat({})
    places = _places(engine, generation.token_ids)
    texts = token_texts(engine, generation.token_ids)
    for place, text, logprob, top in zip(places, texts, generation.logprobs, tops, strict=False):
        if place >= len(generation.text):
            break
        if place >= len(working):
            alternatives = tuple((engine.decode((other,)), value) for other, value in top.items())
            offset = min(max(0, place - begin), len(answer))
            found.append(TokenLogprob(token=text, logprob=logprob, top=alternatives, offset=offset))
    return tuple(found)


def _places(engine: Engine, ids: Sequence[TokenId]) -> Iterator[int]:
    """Where each token begins in the text that they make, in which special tokens have no text."""
    place = 0
    for number, token_id in enumerate(ids):
        yield place
        before = ids[max(0, number - _WINDOW) : number]
        place += len(engine.decode((*before, token_id), plain=True)) - len(engine.decode(before, plain=True))
