"""An answer that two models write by turns, put together as if one had written it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Literal

from experts.engines.answer_text import AnswerText
from experts.engines.requests import FinishReason, Generation, TokenId

Author = Literal["small", "large"]


@dataclass(frozen=True)
class PairGeneration:
    """What a pair wrote.

    Attributes:
        generation: the answer; each log-probability is that of the model which wrote the token.
        authors: who wrote each of its tokens.
        switches: how often the large model was called.
        scores: how critical each place was; None where that was not asked for, and where the large model went on after
            a critical token.
    """

    generation: Generation
    authors: tuple[Author, ...]
    switches: int
    scores: tuple[float | None, ...]

    @property
    def large_tokens(self) -> int:
        """How many tokens the large model wrote."""
        return self.authors.count("large")

    @property
    def large_share(self) -> float:
        """The share of tokens that the large model wrote; 0 of an empty answer."""
        return self.large_tokens / len(self.authors) if self.authors else 0.0


class Writing:
    """Collects the turns of an answer and watches for stop texts, which may span them.

    Args:
        decode: text of token ids, without special tokens.
        stop: texts that end the answer.
    """

    def __init__(self, decode: Callable[[Sequence[TokenId]], str], stop: tuple[str, ...]) -> None:
        self.token_ids: list[TokenId] = []
        self.large = 0
        self._switches = 0
        self._text = AnswerText(decode, stop)
        self._shown = 0  # tokens of this turn whose text has gone out
        self._logprobs: list[float] = []
        self._tops: list[dict[TokenId, float]] = []
        self._authors: list[Author] = []
        self._scores: list[float | None] = []

    @property
    def written(self) -> int:
        """How many tokens there are, those included whose turn is not over."""
        return len(self.token_ids) + self._shown

    @property
    def stopped(self) -> bool:
        """Whether a stop text has been found."""
        return self._text.stopped is not None

    @property
    def holds_back(self) -> bool:
        """Whether the text so far may end in the beginning of a stop text."""
        return self._text.holds_back

    def show(self, tokens: Sequence[TokenId]) -> str:
        """Takes tokens of a turn that is not over yet; returns the text that became certain."""
        pieces = []
        for token in tokens:
            if self.stopped:
                break
            pieces.append(self._text.push(token))
            self._shown += 1
        return "".join(pieces)

    def take(self, author: Author, turn: Generation, scores: Sequence[float | None], *, ends: bool) -> str:
        """Takes a whole turn; returns the text that became certain and has not gone out yet.

        Args:
            scores: of the turn's tokens; too few if they are not known.
            ends: the last token ends the answer and has no text.
        """
        written = len(turn.token_ids) - ends
        piece = self.show(turn.token_ids[self._shown : written])
        kept = self._shown if self.stopped else len(turn.token_ids)
        self._shown = 0
        self.token_ids += turn.token_ids[:kept]
        if author == "large":
            self.large += kept
            self._switches += 1
        self._logprobs += turn.logprobs[:kept]
        self._tops += turn.top_logprobs[:kept]
        self._authors += repeat(author, kept)
        self._scores += islice(chain(scores, repeat(None)), kept)
        return piece

    def finish(self) -> str:
        """The text that was still held back, when nothing follows."""
        return self._text.finish()

    def result(self, prompt_tokens: int, finish: FinishReason, reason: TokenId | str | None) -> PairGeneration:
        """The whole answer, after ``finish``.

        Args:
            finish: why the last turn ended; a stop text counts more.
            reason: the stop token that ended it.
        """
        generation = Generation(
            token_ids=tuple(self.token_ids), text=self._text.text, logprobs=tuple(self._logprobs),
            finish_reason="stop" if self.stopped else finish, prompt_tokens=prompt_tokens,
            top_logprobs=tuple(self._tops), stop_reason=self._text.stopped if self.stopped else reason,
        )  # fmt: skip
        return PairGeneration(generation, tuple(self._authors), self._switches, tuple(self._scores))
