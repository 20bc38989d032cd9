"""Both ways on from a mismatch: the large model goes on from the small model's token, and the original goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experts.engines.base import Engine
from experts.engines.requests import TokenId
from router.token_level.checkers import Branch
from router.token_level.large import SENTENCE_ENDS, Continuation, Large, Text
from router.token_level.problems import Problem

if TYPE_CHECKING:
    from experts.engines.local.key_values import Past


@dataclass(frozen=True)
class Mismatch:
    """A position of a response where the small model would have written another token.

    Attributes:
        past: what the large model has computed of prompt and response.
    """

    problem: Problem
    prompt: tuple[TokenId, ...]
    response: tuple[TokenId, ...]
    position: int
    proposal: TokenId
    past: Past | None = None

    @property
    def prefix(self) -> tuple[TokenId, ...]:
        """The response before the position."""
        return self.response[: self.position]


async def branches(engine: Engine, large: Large, mismatches: Sequence[Mismatch], how: Continuation) -> list[Branch]:
    """Continues all proposal branches at the same time; the reference branches are cut from the originals."""
    texts = [_text(engine, mismatch, how) for mismatch in mismatches]
    written = await large.go_on(texts, how)
    return [_branch(engine, mismatch, one.tokens, how) for mismatch, one in zip(mismatches, written, strict=True)]


def _text(engine: Engine, mismatch: Mismatch, how: Continuation) -> Text:
    """What a branch goes on from; there is no room where the small model's token ends the answer."""
    tokens = (*mismatch.prompt, *mismatch.prefix, mismatch.proposal)
    room = min(how.max_tokens - mismatch.position - 1, engine.info.context_length - len(tokens))
    return Text(tokens, 0 if mismatch.proposal in engine.info.end_ids else max(room, 0), mismatch.past)


def _branch(engine: Engine, mismatch: Mismatch, tail: tuple[TokenId, ...], how: Continuation) -> Branch:
    # A prefix may end within a character: its broken end belongs to the branches.
    prefix = engine.decode(mismatch.prefix, plain=True).rstrip("\ufffd")
    reference = engine.decode(mismatch.response, plain=True)[len(prefix) :]
    proposal = engine.decode((*mismatch.prefix, mismatch.proposal, *tail), plain=True)[len(prefix) :]
    if how.until == "sentence":
        reference, proposal = (cut(text, how.sentences) for text in (reference, proposal))
    return Branch(mismatch.problem, prefix, reference, proposal)


def cut(text: str, sentences: int) -> str:
    """The text through its first so many sentence ends."""
    end = 0
    for _ in range(sentences):
        found = [at + len(stop) for stop in SENTENCE_ENDS if (at := text.find(stop, end)) >= 0]
        if not found:
            return text
        end = min(found)
    return text[:end]
