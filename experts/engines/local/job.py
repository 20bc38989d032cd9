"""One request while it is being answered."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError

from experts.engines.answer import Answer, Draw
from experts.engines.local.sampling import Sampler
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId


class Job:
    """The prompt, the growing answer, and whoever waits for it.

    Args:
        emit: called with every chunk, in the engine's thread.

    Attributes:
        future: resolves to the generation; cancelling it stops the generation after the current token.
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
        self._answer = answer
        self._emit = emit

    @property
    def last_token(self) -> TokenId:
        return self._answer.last_token

    def advance(self, draw: Draw) -> bool:
        """Takes the next token; False when the answer has ended, or nobody waits for it any more."""
        if self.future.done():
            return False
        chunk = self._answer.push(draw)
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
