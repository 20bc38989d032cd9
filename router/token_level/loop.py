"""The loop of a pair: the small model writes until a token is critical, the large one writes that token (R2R).

It needs nothing but the engine contract, so the models may run in this process or on servers. Only switches pass through
here: the small model's worker finds critical tokens by itself. Both are asked by token ids, and each turn continues a
session, so what an engine has computed it need not compute again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b

from experts.engines.base import Capability, Engine, require
from experts.engines.checks import check_prompt
from experts.engines.requests import NO_MASK, Chunk, Defer, GenerateRequest, Generation, Sampling, Session
from experts.errors import EngineError, RequestError
from router.token_level.budget import ShareBudget
from router.token_level.vocabularies import check_same_tokens
from router.token_level.writing import Author, PairGeneration, Writing

_UNSUITABLE = ("adapter", "expert_mask", "first_token_ids", "structure", "defer", "session")


@dataclass(frozen=True)
class Switching:
    """When the large model writes.

    Attributes:
        threshold: criticality from which on a token is the large model's.
        max_large_share: at no moment is a larger share of the tokens so far the large model's.
        large_run: tokens that it writes at each switch, if the share allows.
    """

    threshold: float
    max_large_share: float = 1.0
    large_run: int = 1


@dataclass(frozen=True)
class PairChunk:
    """A piece of a streamed answer. The last chunk carries the whole ``result``; the texts add up to its text.

    Attributes:
        written: how many tokens there are so far.
    """

    text: str
    written: int
    result: PairGeneration | None = None


class TokenPair:
    """Two engines that write one answer together.

    Requests are those of an engine, without adapters, masks, structures and ``first_token_ids``. Answers that are drawn at random
    are repeatable with a seed: each turn has a seed of its own, by its place in the answer.

    Args:
        small: writes; it must be able to defer.
        large: writes the critical tokens.

    Raises:
        CapabilityError: an engine cannot do its part.
        GraphError: the two have different tokenizers. Comparing them token by token takes seconds with 150,000 tokens.
    """

    def __init__(self, small: Engine, large: Engine) -> None:
        require(small, Capability.GENERATE, Capability.DEFER)
        require(large, Capability.GENERATE)
        check_same_tokens(small, large)
        self.small, self.large = small, large

    async def generate(self, request: GenerateRequest, switching: Switching) -> PairGeneration:
        """Answers a request."""
        async with aclosing(self._write(request, switching, streamed=False)) as chunks:
            async for chunk in chunks:
                if chunk.result is not None:
                    return chunk.result
        raise AssertionError("an answer ends with its result")

    async def stream(self, request: GenerateRequest, switching: Switching) -> AsyncIterator[PairChunk]:
        """Answers piece by piece. Closing the iterator early stops the generation."""
        async with aclosing(self._write(request, switching, streamed=True)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _write(
        self, request: GenerateRequest, switching: Switching, *, streamed: bool
    ) -> AsyncGenerator[PairChunk, None]:
        turns = _Turns(self, request, switching)
        writing = turns.writing
        author: Author = "small"
        score: tuple[float, ...] = ()  # of the token that the small model left
        while True:
            engine, asked = turns.next(author)
            turn: Generation | None = None
            async with aclosing(_ask(engine, asked, streamed=streamed)) as chunks:
                async for chunk in chunks:
                    turn = chunk.generation
                    if turn is None and (text := writing.show(chunk.token_ids)):
                        yield PairChunk(text, writing.written)
            if turn is None:
                raise EngineError(
                    f"expected a last chunk with the whole generation from {engine.info.model}, found none. Mend the "
                    "engine's `stream`"
                )
            ends = turn.finish_reason == "stop" and not isinstance(turn.stop_reason, str)
            text = writing.take(author, turn, turn.criticality if author == "small" else score, ends=ends)
            if ends or writing.stopped or len(writing.token_ids) >= turns.limit:
                text += writing.finish()
                reason = turn.stop_reason if turn.stop_reason in request.stop_token_ids else None
                result = writing.result(len(turns.prompt), "stop" if ends else "length", reason)
                yield PairChunk(text, writing.written, result)
                return
            if text:
                yield PairChunk(text, writing.written)
            author, score = ("large" if turn.finish_reason == "defer" else "small"), turn.criticality[-1:]


class _Turns:
    """The requests of which an answer is made.

    Attributes:
        prompt: token ids.
        limit: tokens that fit into both models' contexts, at most.
        writing: what they have written so far.
    """

    def __init__(self, pair: TokenPair, request: GenerateRequest, switching: Switching) -> None:
        asked = replace(request, expert_mask=None) if request.expert_mask == NO_MASK else request
        for name in _UNSUITABLE:
            if getattr(asked, name) is not None:
                raise RequestError(f"expected a request without {name} for a pair of models, found one. Leave it out")
        self._pair, self._request, self._switching = pair, request, switching
        self._budget = ShareBudget(switching.max_large_share)
        self._sessions: dict[Author, Session] = {"small": Session(), "large": Session()}
        self.prompt = pair.small.render(request)
        context = min(pair.small.info.context_length, pair.large.info.context_length)
        check_prompt(len(self.prompt), context)
        self.limit = min(request.max_tokens, context - len(self.prompt))
        self.writing = Writing(partial(pair.small.decode, plain=True), request.stop)

    def next(self, author: Author) -> tuple[Engine, GenerateRequest]:
        """Whom to ask for the next turn, and what."""
        request, written = self._request, tuple(self.writing.token_ids)
        small, large = self._pair.small, self._pair.large
        engine, other = (small, large) if author == "small" else (large, small)
        room = self.limit - len(written)
        if author == "large":
            allowed = self._budget.room(self.writing.large, len(written))
            room = min(room, self._switching.large_run, room if allowed is None else allowed)
        elif self.writing.holds_back and request.stop:
            # A stop text that began before this turn is found here alone, so the turn ends soon after it.
            room = min(room, max(map(len, request.stop)))
        stops = () if request.ignore_eos else (end for end in other.info.end_ids if end not in request.stop_token_ids)
        return engine, replace(
            request, messages=(), tools=(), prompt_ids=self.prompt + written, forced_ids=(), max_tokens=room,
            sampling=_at(request.sampling, len(written)), stop_token_ids=(*request.stop_token_ids, *stops),
            defer=self._defer(len(written)) if author == "small" else None, criticality=request.criticality and author == "small",
            session=self._sessions[author],
        )  # fmt: skip

    def _defer(self, written: int) -> Defer | None:
        wait = self._budget.wait(self.writing.large, written)
        return None if wait is None else Defer(self._switching.threshold, after=wait)


def _at(sampling: Sampling, place: int) -> Sampling:
    """The same with a seed for the turn that begins at a place, so that no two turns use the same random numbers."""
    if sampling.seed is None:
        return sampling
    digest = blake2b(f"{sampling.seed} {place}".encode(), digest_size=8).digest()
    return replace(sampling, seed=int.from_bytes(digest) >> 1)


async def _ask(engine: Engine, request: GenerateRequest, *, streamed: bool) -> AsyncGenerator[Chunk, None]:
    """The chunks of a turn; the last one carries its generation."""
    if not streamed:
        yield Chunk("", (), await engine.generate(request))
        return
    async with aclosing(engine.stream(request)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            yield chunk
