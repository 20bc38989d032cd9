"""A deterministic stand-in for a model, for tests of graphs."""

from __future__ import annotations

import asyncio
import hashlib
import re
from itertools import takewhile

from experts.engines.base import Capability
from experts.engines.characters import CharacterVocabulary
from experts.engines.config import Rule, ScriptedWorker
from experts.engines.playback import PlaybackEngine, Script
from experts.engines.requests import GenerateRequest, TokenId
from experts.errors import EngineError, EngineUnavailable, RequestError


class ScriptedEngine(PlaybackEngine):
    """Answers by the first rule that matches the last message of the user, and the results of tools after it.

    Special tokens in a rule's answer become tokens; text that a rule takes over from the user does not. With
    ``first_token_ids`` the token that the answer starts with has probability 0.9, or the first of them if the answer
    starts with none. Temperature and seed have no effect.

    Raises:
        EngineError: a rule is no regular expression.
        EngineUnavailable: the matching rule says so.
        RequestError: no rule matches.
    """

    def __init__(self, worker: ScriptedWorker) -> None:
        digest = hashlib.blake2b(worker.model_dump_json().encode(), digest_size=16).hexdigest()
        super().__init__("scripted", digest, CharacterVocabulary(worker.tokens))
        self._rules = [
            (_compile(rule.match), None if rule.after is None else _compile(rule.after), rule) for rule in worker.rules
        ]
        special = "|".join(map(re.escape, sorted(self._vocabulary.special, key=len, reverse=True)))
        self._special = re.compile(f"({special or '(?!)'})")

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.GENERATE, Capability.STREAM, Capability.LOGPROBS, Capability.ALLOWED_TOKENS})

    async def _script(self, request: GenerateRequest) -> Script:
        query, results = self._query(request), _results(request)
        for pattern, after, rule in self._rules:
            found = pattern.search(query)
            if found and after is not None:
                found = None if results is None else after.search(results)
            if found:
                if rule.seconds:
                    await asyncio.sleep(rule.seconds)
                if rule.error is not None:
                    raise EngineUnavailable(rule.error)
                return Script(self._answer(rule, found), rule.logprob)
        raise RequestError(f"expected a rule that matches {query!r}, found none. Add one with match: '.*' at the end")

    def _answer(self, rule: Rule, found: re.Match[str]) -> tuple[TokenId, ...]:
        ids: list[TokenId] = []
        for piece in self._special.split(rule.answer):
            token = self.token_id(piece)
            ids.extend(self.encode(_expand(found, piece)) if token is None else (token,))
        return tuple(ids)


def _results(request: GenerateRequest) -> str | None:
    """The results that a dialogue ends with, one a line; None if it does not end with any."""
    turns = takewhile(lambda message: message.role == "tool", reversed(request.messages))
    found = [message.content for message in turns]
    return "\n".join(reversed(found)) if found else None


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE | re.DOTALL)
    except re.error as error:
        raise EngineError(f"expected a regular expression in a rule, found {pattern!r}: {error}. Correct it") from error


def _expand(found: re.Match[str], answer: str) -> str:
    try:
        return found.expand(answer)
    except (re.error, IndexError) as error:
        raise EngineError(
            f"expected groups of {found.re.pattern!r} in the answer, found {answer!r}: {error}. Correct the rule"
        ) from error
