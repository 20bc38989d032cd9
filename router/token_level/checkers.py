"""Task checkers: is a response right, and do two of them come to the same answer?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from router.errors import DataError
from router.token_level.problems import Problem
from router.user_function import load_user_function

Verdict = Literal["neutral", "divergent", "unclear"]

# A sign belongs to a number unless something to subtract from stands before it.
_NUMBER = re.compile(r"(?:(?<![\w.)])[-+])?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")


@dataclass(frozen=True)
class Branch:
    """Where the two models part: one prefix, what the large model wrote after it, and what follows the small's token.

    Attributes:
        prefix: the text of the response up to there.
        reference: the large model's own text from there on.
        proposal: the small model's token and the large model's text after it.
    """

    problem: Problem
    prefix: str
    reference: str
    proposal: str


class Verifier(Protocol):
    """Decides what a mismatch is worth."""

    @property
    def needs_answers(self) -> bool:
        """Whether branches have to run to the end of the answer."""
        ...

    async def grade(self, problem: Problem, response: str) -> bool | None:
        """Whether a response is right; None if that cannot be told, for want of an expected answer say."""
        ...

    async def verify(self, branches: Sequence[Branch]) -> list[Verdict]:
        """For each branch: ``divergent`` if the small model's token changes the outcome, ``unclear`` drops it."""
        ...


class _AnswerChecker:
    """Compares final answers: that of the proposal with the one of the reference."""

    needs_answers = True

    def __init__(self, mark: str | None) -> None:
        self._mark = mark

    async def grade(self, problem: Problem, response: str) -> bool | None:
        if problem.answer is None:
            return None
        # Expected answers may be written with their working, as GSM8K's are.
        expected = self._final(problem.answer, marked=False)
        return expected is not None and self._final(response, marked=True) == expected

    async def verify(self, branches: Sequence[Branch]) -> list[Verdict]:
        return [self._verdict(branch) for branch in branches]

    def _verdict(self, branch: Branch) -> Verdict:
        reference = self._final(branch.prefix + branch.reference, marked=True)
        if reference is None:
            return "unclear"
        return "neutral" if self._final(branch.prefix + branch.proposal, marked=True) == reference else "divergent"

    def _final(self, text: str, *, marked: bool) -> str | None:
        """The final answer: what follows the last mark. Without a mark in it, all of the text, unless ``marked``."""
        if self._mark is not None:
            _, found, after = text.rpartition(self._mark)
            if not found and marked:
                return None
            text = after
        return self._read(text)

    def _read(self, text: str) -> str | None:
        raise NotImplementedError


class ExactAnswer(_AnswerChecker):
    """The final answer as text, white space at its ends and runs of it inside left out of account."""

    def _read(self, text: str) -> str | None:
        return " ".join(text.split()) or None


class NumericAnswer(_AnswerChecker):
    """The final answer as a number: the last one in the text, or the first after the mark; 1,000.0 equals 1000."""

    def _read(self, text: str) -> str | None:
        numbers = _NUMBER.findall(text)
        if not numbers:
            return None
        number = Decimal(numbers[-1 if self._mark is None else 0].replace(",", ""))
        return str(number.normalize() + 0)


class FunctionChecker:
    """A user's function ``check(prompt, answer, response) -> bool``: unit tests of written code, say.

    It runs in another thread, one response at a time.
    """

    needs_answers = True

    def __init__(self, check: Callable[[str, str | None, str], bool]) -> None:
        self._check = check

    async def grade(self, problem: Problem, response: str) -> bool | None:
        return bool(await asyncio.to_thread(self._check, problem.prompt, problem.answer, response))

    async def verify(self, branches: Sequence[Branch]) -> list[Verdict]:
        right = [await self.grade(branch.problem, branch.prefix + branch.proposal) for branch in branches]
        return ["neutral" if one else "divergent" for one in right]


def task_checker(name: str, mark: str | None = None) -> Verifier:
    """The checker of a name: ``exact``, ``number``, or ``module:function`` for a function of the user's own.

    Args:
        mark: text that precedes the final answer, such as ``####``.

    Raises:
        DataError: there is no such checker.
    """
    if name == "exact":
        return ExactAnswer(mark)
    if name == "number":
        return NumericAnswer(mark)
    if ":" not in name:
        raise DataError("the checker", "exact, number, or module:function", repr(name))
    try:
        return FunctionChecker(load_user_function(name))
    except ImportError as error:
        raise DataError("the checker", "module:function that can be imported", str(error)) from error
