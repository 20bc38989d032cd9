"""Bounds of a run, checked before and during every visit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from router.errors import BudgetExceeded
from router.runtime.work import Spent
from router.spec.models import Budget

T = TypeVar("T")

_ROUNDING = 1e-9  # three edges of 0.1 cost 0.30000000000000004


@dataclass(frozen=True)
class Allowance:
    """What one visit may use, so that visits that run side by side cannot exceed the budget together.

    Attributes:
        spent: what was used before this superstep.
        place: how many visits of this superstep come before this one.
        share: among how many visits of this superstep the remaining tokens are divided.
        elapsed: seconds that the visits on the way here took.
    """

    budget: Budget
    spent: Spent
    place: int
    share: int
    elapsed: float

    def check(self, *, writes: bool) -> None:
        """Raises BudgetExceeded if there is nothing left for this visit; one that writes needs tokens."""
        steps = self.spent["steps"] + self.place + 1
        if self.budget.steps is not None and steps > self.budget.steps:
            raise BudgetExceeded("steps", self.budget.steps, steps)
        if self.budget.cost is not None and self.spent["cost"] > self.budget.cost + _ROUNDING:
            raise BudgetExceeded("cost", self.budget.cost, self.spent["cost"])
        if writes and self.tokens is not None and self.tokens < 1:
            raise self.out_of_tokens(1)
        if self.budget.seconds is not None and self.elapsed >= self.budget.seconds:
            raise BudgetExceeded("seconds", self.budget.seconds, self.elapsed)

    @property
    def tokens(self) -> int | None:
        """How many tokens this visit may write; None is no bound."""
        if self.budget.tokens is None:
            return None
        return max(0, self.budget.tokens - self.spent["tokens"]) // self.share

    def cap(self, max_tokens: int) -> int:
        """The smaller of a node's own limit and this visit's tokens."""
        return max_tokens if self.tokens is None else min(max_tokens, self.tokens)

    def check_length(self, written: int, max_tokens: int, finish_reason: str) -> None:
        """Raises BudgetExceeded if an answer was cut off by the budget and not by the node's own limit."""
        if (
            finish_reason == "length"
            and self.tokens is not None
            and self.tokens < max_tokens
            and written >= self.tokens
        ):
            raise self.out_of_tokens(written)

    def out_of_tokens(self, written: int) -> BudgetExceeded:
        """The error of a visit that would need more than the tokens it wrote."""
        return BudgetExceeded("tokens", self.budget.tokens or 0, self.spent["tokens"] + written * self.share)

    async def in_time(self, work: Awaitable[T]) -> T:
        """Awaits the work for as long as the budget's seconds last."""
        if self.budget.seconds is None:
            return await work
        try:
            async with asyncio.timeout(self.budget.seconds - self.elapsed) as scope:
                return await work
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise BudgetExceeded("seconds", self.budget.seconds, self.budget.seconds) from error
