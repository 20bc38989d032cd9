"""An answer as it grows, token by token: when it ends, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ctypes import c_float
from dataclasses import dataclass

from experts.engines.answer_text import AnswerText
from experts.engines.requests import Chunk, FinishReason, GenerateRequest, Generation, TokenId


@dataclass(frozen=True)
class Draw:
    """A token and its log-probability, with the alternatives and the criticality that the request asks for."""

    token: TokenId
    logprob: float
    top: dict[TokenId, float] | None = None
    first: dict[TokenId, float] | None = None
    criticality: float | None = None


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
    def token_ids(self) -> tuple[TokenId, ...]:
        """The tokens so far."""
        return tuple(draw.token for draw in self._draws)

    @property
    def last_token(self) -> TokenId:
        return self._draws[-1].token

    @property
    def may_defer(self) -> bool:
        """Whether the next token may be left to another model."""
        defer = self._request.defer
        return defer is not None and len(self._draws) >= defer.after

    def defers(self, criticality: float) -> bool:
        """Whether the next token is left to another model, given its criticality."""
        defer = self._request.defer
        # Scores are of single precision, so in every engine the comparison is.
        return defer is not None and self.may_defer and criticality >= c_float(defer.threshold).value

    def leave(self, criticality: float | None = None) -> Chunk:
        """Ends the answer before a token that is left to another model."""
        return self._end("", (), "defer", None, () if criticality is None else (criticality,))

    def push(self, draw: Draw) -> Chunk:
        """Takes the next token; the chunk that ends the answer carries its generation."""
        self._draws.append(draw)
        token = draw.token
        if token in self._end_ids:
            return self._end("", (token,), "stop", None)
        if token in self._request.stop_token_ids:
            return self._end("", (token,), "stop", token)
        piece = self._text.push(token)
        if self._text.stopped is not None:
            return self._end(piece, (token,), "stop", self._text.stopped)
        if len(self._draws) >= self._limit:
            return self._end(piece, (token,), "length", None)
        return Chunk(piece, (token,))

    def _end(
        self, piece: str, tokens: tuple[TokenId, ...], finish: FinishReason, reason: TokenId | str | None,
        refused: tuple[float, ...] = (),
    ) -> Chunk:  # fmt: skip
        piece += self._text.finish()
        draws = self._draws
        if self._text.stopped is not None:  # a stop text can complete in what was held back
            finish, reason = "stop", reason or self._text.stopped
        generation = Generation(
            token_ids=tuple(draw.token for draw in draws),
            text=self._text.text,
            logprobs=tuple(draw.logprob for draw in draws),
            finish_reason=finish,
            prompt_tokens=self._prompt_tokens,
            top_logprobs=tuple(draw.top or {} for draw in draws) if self._request.top_logprobs else (),
            first_logprobs=(draws[0].first or {}) if draws else {},
            stop_reason=reason,
            criticality=(*(draw.criticality for draw in draws if draw.criticality is not None), *refused)
            if self._request.criticality
            else (),
        )
        return Chunk(piece, tokens, generation)
