"""An answer as it grows, token by token: when it ends, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from experts.engines.answer_text import AnswerText
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId


@dataclass(frozen=True)
class Draw:
    """A token and its log-probability, with the alternatives that the request asks for."""

    token: TokenId
    logprob: float
    top: dict[TokenId, float] | None = None
    first: dict[TokenId, float] | None = None


class Answer:
    """Collects the draws of one request.

    Args:
        prompt_tokens: length of the prompt.
        decode: text of token ids, without special tokens.
        end_ids: the model's own end tokens.
        limit: tokens that fit, at most.
    """

    def __init__(
        self,
        request: GenerateRequest,
        prompt_tokens: int,
        decode: Callable[[Sequence[TokenId]], str],
        end_ids: Collection[TokenId],
        limit: int,
    ) -> None:
        self._request = request
        self._prompt_tokens = prompt_tokens
        self._text = AnswerText(decode, request.stop)
        self._end_ids = () if request.ignore_eos else end_ids
        self._limit = limit
        self._draws: list[Draw] = []

    @property
    def last_token(self) -> TokenId:
        return self._draws[-1].token

    def push(self, draw: Draw) -> Chunk:
        """Takes the next token; the chunk that ends the answer carries its generation."""
        self._draws.append(draw)
        token = draw.token
        if token in self._end_ids:
            return self._end("", finished=True, reason=None)
        if token in self._request.stop_token_ids:
            return self._end("", finished=True, reason=token)
        piece = self._text.push(token)
        if self._text.stopped is not None:
            return self._end(piece, finished=True, reason=self._text.stopped)
        if len(self._draws) >= self._limit:
            return self._end(piece, finished=False, reason=None)
        return Chunk(piece, (token,))

    def _end(self, piece: str, *, finished: bool, reason: TokenId | str | None) -> Chunk:
        piece += self._text.finish()
        draws = self._draws
        if self._text.stopped is not None:  # a stop text can complete in what was held back
            finished, reason = True, reason or self._text.stopped
        generation = Generation(
            token_ids=tuple(draw.token for draw in draws),
            text=self._text.text,
            logprobs=tuple(draw.logprob for draw in draws),
            finish_reason="stop" if finished else "length",
            prompt_tokens=self._prompt_tokens,
            top_logprobs=tuple(draw.top or {} for draw in draws) if self._request.top_logprobs else (),
            first_logprobs=draws[0].first or {},
            stop_reason=reason,
        )
        return Chunk(piece, (draws[-1].token,), generation)
