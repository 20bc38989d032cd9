"""Lets a model write the arguments of a call so that they fit the tool's signature.

The model writes freely up to a closing bracket, and what it wrote is checked token by token against the signature
(`router.tools.tokens.pattern`). The first token that no call could have is drawn again among the characters that one
could, and the model goes on from there. A token that fits is taken with the probability that the model gives it, so the
outcome is that of masking every step, for a vocabulary of characters exactly; but a call that needs no mending, which is
nearly every one, costs one request instead of one a token, and needs nothing of an engine but ``first_token_ids``.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from functools import cached_property

import regex

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, TokenId
from router.tools.errors import ToolArgumentsError

_MATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Written:
    """The arguments of a call.

    Attributes:
        text: with both brackets.
        token_ids: the same as tokens.
        drawn: how many tokens the model drew for it, those that were drawn again included.
        whole: the call has its end; otherwise the answer had no room for it.
    """

    text: str
    token_ids: tuple[TokenId, ...]
    drawn: int
    whole: bool = True


class ArgumentWriter:
    """Writes arguments with one engine.

    Args:
        longest: how many tokens the arguments of a call may take.
    """

    def __init__(self, engine: Engine, longest: int) -> None:
        self._engine, self._longest = engine, longest

    async def write(self, request: GenerateRequest, pattern: regex.Pattern[str], name: str) -> Written:
        """The arguments, from the opening bracket to the closing one.

        Args:
            request: its ``prompt_ids`` end with the tool token; ``max_tokens`` is what is left of the answer's.
            pattern: of ``(arguments)``.
            name: the tool's, for errors.

        Raises:
            ToolArgumentsError: what the model writes is too long, or cannot become a call.
        """
        prompt = request.prompt_ids or ()
        ids, drawn = self._engine.encode("("), 0
        first: tuple[TokenId, ...] | None = None
        while drawn < self._longest:
            room = min(request.max_tokens - drawn, self._engine.info.context_length - len(prompt + ids))
            if room < 1:
                return Written(self._text(ids), ids, drawn, whole=False)
            most = 1 if first else min(room, self._longest - drawn)
            generation = await self._engine.generate(
                replace(request, prompt_ids=prompt + ids, max_tokens=most, stop=(")",), first_token_ids=first)
            )
            first = None
            for token in generation.token_ids:
                drawn += 1
                longer = self._text((*ids, token))
                special = self._is_special(token)
                if special or not _may_become(pattern, longer):
                    ended = None if special else _ended(pattern, longer)
                    if ended is not None:  # the bracket shares its token with what comes after the call
                        rest = ended[len(self._text(ids)) :]
                        return Written(ended, ids + self._engine.encode(rest), drawn)
                    first = self._fitting(pattern, self._text(ids))
                    break
                ids = (*ids, token)
                if pattern.fullmatch(longer, timeout=_MATCH_SECONDS):
                    return Written(longer, ids, drawn)
            if first == ():
                break
        raise ToolArgumentsError(
            f"{name}: expected arguments of at most {self._longest} tokens that fit the signature, found "
            f"{self._text(ids)[:200]!r}"
        )

    def _text(self, ids: tuple[TokenId, ...]) -> str:
        """The text; without its end if that is only a part of a character."""
        return self._engine.decode(ids).rstrip("\ufffd")

    def _is_special(self, token: TokenId) -> bool:
        ends = self._engine.info.end_ids
        return token in ends or self._engine.decode((token,)) != self._engine.decode((token,), plain=True)

    def _fitting(self, pattern: regex.Pattern[str], text: str) -> tuple[TokenId, ...]:
        """The characters that may come next."""
        return tuple(token for character, token in self._characters if _may_become(pattern, text + character))

    @cached_property
    def _characters(self) -> tuple[tuple[str, TokenId], ...]:
        """Printable ASCII characters that are one token each."""
        single = ((character, self._engine.encode(character)) for character in string.printable[:95])
        return tuple((c, ids[0]) for c, ids in single if len(ids) == 1 and self._engine.decode(ids) == c)


def _may_become(pattern: regex.Pattern[str], text: str) -> bool:
    """Whether a text is a call or the beginning of one."""
    return pattern.fullmatch(text, partial=True, timeout=_MATCH_SECONDS) is not None


def _ended(pattern: regex.Pattern[str], text: str) -> str | None:
    """The call that a text begins with, if it is whole."""
    found = pattern.match(text, timeout=_MATCH_SECONDS)
    return None if found is None else found[0]
