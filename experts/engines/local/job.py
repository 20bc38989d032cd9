"""One request while it is being answered."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError

from experts.engines.answer_text import AnswerText
from experts.engines.local.sampling import Draw, Sampler
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId


class Job:
    """The prompt, the growing answer, and whoever waits for it.

    Args:
        text: decodes the answer.
        end_ids: the model's own end tokens.
        limit: tokens that fit, at most.
        emit: called with every chunk, in the engine's thread.

    Attributes:
        future: resolves to the generation; cancelling it stops the generation after the current token.
    """

    def __init__(
        self,
        request: GenerateRequest,
        prompt: tuple[TokenId, ...],
        text: AnswerText,
        end_ids: frozenset[TokenId],
        limit: int,
        emit: Callable[[Chunk], None] | None = None,
    ) -> None:
        self.request = request
        self.prompt = prompt
        self.sampler = Sampler(request)
        self.future: Future[Generation] = Future()
        self._text = text
        self._end_ids = frozenset() if request.ignore_eos else end_ids
        self._limit = limit
        self._emit = emit
        self._draws: list[Draw] = []

    @property
    def last_token(self) -> TokenId:
        return self._draws[-1].token

    def advance(self, draw: Draw) -> bool:
        """Takes the next token; False when the answer has ended, or nobody waits for it any more."""
        if self.future.done():
            return False
        self._draws.append(draw)
        token = draw.token
        if token in self._end_ids:
            return self._end("", finished=True, reason=None)
        if token in self.request.stop_token_ids:
            return self._end("", finished=True, reason=token)
        piece = self._text.push(token)
        if self._text.stopped is not None:
            return self._end(piece, finished=True, reason=self._text.stopped)
        if len(self._draws) >= self._limit:
            return self._end(piece, finished=False, reason=None)
        if self._emit:
            self._emit(Chunk(piece, (token,)))
        return True

    def fail(self, error: Exception) -> None:
        """Hands an error to whoever waits."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:  # cancelled meanwhile, or done
            return

    def _end(self, piece: str, *, finished: bool, reason: TokenId | str | None) -> bool:
        piece += self._text.finish()
        draws = self._draws
        if self._text.stopped is not None:  # a stop text can complete in what was held back
            finished, reason = True, reason or self._text.stopped
        generation = Generation(
            token_ids=tuple(draw.token for draw in draws),
            text=self._text.text,
            logprobs=tuple(draw.logprob for draw in draws),
            finish_reason="stop" if finished else "length",
            prompt_tokens=len(self.prompt),
            top_logprobs=tuple(draw.top or {} for draw in draws) if self.request.top_logprobs else (),
            first_logprobs=draws[0].first or {},
            stop_reason=reason,
        )
        try:
            self.future.set_result(generation)
        except InvalidStateError:  # cancelled meanwhile
            return False
        if self._emit:
            self._emit(Chunk(piece, (draws[-1].token,), generation))
        return False
