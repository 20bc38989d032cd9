"""One request while it is being answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager

from experts.engines.answer import Answer, Draw
from experts.engines.checks import deadline_exceeded
from experts.engines.local.key_values import Past
from experts.engines.local.sampling import Sampler
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId


class Job:
    """The prompt, the growing answer, and whoever waits for it.

    Args:
        emit: called with every chunk, in the engine's thread.

    Attributes:
        future: resolves to the generation; cancelling it stops the generation after the current token.
        past: what has been computed of it, while it waits for others to join its batch.
    """

    def __init__(
        self,
        request: GenerateRequest,
        prompt: tuple[TokenId, ...],
        answer: Answer,
        emit: Callable[[Chunk], None] | None = None,
    ) -> None:
        self.request = request
        self.prompt = prompt
        self.sampler = Sampler(request)
        self.future: Future[Generation] = Future()
        self.past: Past | None = None
        self._answer = answer
        self._emit = emit

    @property
    def last_token(self) -> TokenId:
        return self._answer.last_token

    @property
    def tokens(self) -> tuple[TokenId, ...]:
        """The prompt and the answer so far."""
        return self.prompt + self._answer.token_ids

    @property
    def is_scored(self) -> bool:
        """Whether anything depends on the criticality of the next token."""
        return self.request.criticality or self._answer.may_defer

    @property
    def is_continued(self) -> bool:
        """Whether it has ended in such a way that another request of its session may go on from here."""
        if self.request.session is None or self.future.cancelled():
            return False
        return self.future.exception() is None and self.future.result().finish_reason != "stop"

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Within the context it fails when its request's deadline passes, whether it waits or runs; it then stops after the
        current token, as one that was cancelled does."""
        if self.request.deadline is None:
            yield
            return
        left = self.request.deadline - time.monotonic()
        timer = asyncio.get_running_loop().call_later(left, self.fail, deadline_exceeded())
        try:
            yield
        finally:
            timer.cancel()

    def advance(self, draw: Draw) -> bool:
        """Takes the next token, or leaves it to another model; False when the answer has ended, or nobody waits for it."""
        if self.future.done():
            return False
        critical = draw.criticality
        leaves = critical is not None and self._answer.defers(critical)
        chunk = self._answer.leave(critical) if leaves else self._answer.push(draw)
        if chunk.generation is not None:
            try:
                self.future.set_result(chunk.generation)
            except InvalidStateError:  # cancelled meanwhile
                return False
        if self._emit:
            self._emit(chunk)
        return chunk.generation is None

    def fail(self, error: Exception) -> None:
        """Hands an error to whoever waits."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:  # cancelled meanwhile, or done
            return
