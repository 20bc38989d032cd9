"""A second replica is asked when the first is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from experts.engines.replicas.circuit import State
from experts.errors import (
    EngineUnavailable,
)
from tests.experts.engines.replicas.switchable import ANSWER, ask
from tests.experts.engines.replicas.two import FAST, Two, home_of, until


class TestHedging:
    @pytest_asyncio.fixture
    async def two(self) -> AsyncIterator[Two]:
        made = Two(replace(FAST, hedge_after=0.02))
        yield made
        await made.engine.close()

    async def test_second_answer_wins(self, two: Two) -> None:
        await two.engine.generate(ask())
        home, other = home_of(two)
        assert other.asked == 0  # the first was quick enough
        home.gate.clear()
        assert (await two.engine.generate(ask())).text == ANSWER
        assert (home.asked, home.cancelled, other.asked) == (2, 1, 1)
        assert two.outstanding == 0

    async def test_first_answer_wins(self, two: Two) -> None:
        await two.engine.generate(ask())
        home, other = home_of(two)
        home.gate.clear()
        other.gate.clear()
        task = asyncio.ensure_future(two.engine.generate(ask()))
        await until(lambda: other.running == 1)
        home.gate.set()
        await task
        assert other.cancelled == 1
        assert two.outstanding == 0

    async def test_one_of_them_may_fail(self, two: Two) -> None:
        await two.engine.generate(ask())
        home, other = home_of(two)
        home.gate.clear()
        other.up = False
        task = asyncio.ensure_future(two.engine.generate(ask()))
        await until(lambda: other.asked == 1)
        home.gate.set()
        assert (await task).text == ANSWER
        assert two.outstanding == 0

    async def test_both_fail(self, two: Two) -> None:
        await two.engine.generate(ask())
        home, other = home_of(two)
        home.gate.clear()
        task = asyncio.ensure_future(two.engine.generate(ask()))
        await until(lambda: home.running == 1)
        other.up = False
        await until(lambda: other.asked == 1)
        home.up = False
        home.gate.set()
        with pytest.raises(EngineUnavailable, match="it is down"):
            await task
        assert home.asked + other.asked == 3 + FAST.repeats
        assert two.outstanding == 0

    async def test_nobody_to_ask(self, two: Two) -> None:
        await two.engine.generate(ask())
        home, other = home_of(two)
        other.up = False
        await until(lambda: State.OPEN in (two.state("a"), two.state("b")))
        home.gate.clear()
        task = asyncio.ensure_future(two.engine.generate(ask()))
        await until(lambda: home.running == 1)
        await asyncio.sleep(0.04)
        home.gate.set()
        assert (await task).text == ANSWER
        assert other.asked == 0

    async def test_cancelled_caller_cancels_both(self, two: Two) -> None:
        two.a.gate.clear()
        two.b.gate.clear()
        task = asyncio.ensure_future(two.engine.generate(ask()))
        await until(lambda: two.asked == (1, 1))
        task.cancel()
        await until(task.done)
        assert (two.a.cancelled, two.b.cancelled, two.outstanding) == (1, 1, 0)
