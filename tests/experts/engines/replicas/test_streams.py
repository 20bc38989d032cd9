"""Streams, hanging replicas and time-outs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from experts.engines.replicas.circuit import State
from experts.errors import (
    EngineUnavailable,
)
from tests.experts.engines.replicas.switchable import ANSWER, ask
from tests.experts.engines.replicas.two import Two, home_of, until


async def test_stream_is_sent_again_while_nothing_was_given(two: Two) -> None:
    two.a.up = False
    for n in range(10):
        chunks = [chunk async for chunk in two.engine.stream(ask(f"question {n}"))]
        assert "".join(chunk.text for chunk in chunks) == ANSWER
    assert two.asked == (3, 10)


async def test_stream_that_has_begun_is_never_sent_again(two: Two) -> None:
    two.a.breaks_after = two.b.breaks_after = 3
    chunks = two.engine.stream(ask())
    assert "".join([(await anext(chunks)).text for _ in range(3)]) == ANSWER[:3]
    with pytest.raises(EngineUnavailable, match="it is down"):
        await anext(chunks)
    assert sum(two.asked) == 1
    assert two.outstanding == 0
    assert sum(replica.failed for replica in two.engine.snapshot().replicas) == 1


async def test_stream_closed_early_frees_its_place(two: Two) -> None:
    for _ in range(10):
        async with aclosing(two.engine.stream(ask())) as chunks:  # type: ignore[type-var]
            await anext(chunks)
            assert two.outstanding == 1
        assert two.outstanding == 0
    assert [replica.failed for replica in two.engine.snapshot().replicas] == [0, 0]


async def test_hanging_replica_is_given_up(two: Two) -> None:
    await two.engine.generate(ask())
    home, other = home_of(two)
    home.gate.clear()
    task = asyncio.ensure_future(two.engine.generate(ask()))
    await until(lambda: home.running == 1)
    home.up = False  # its health check says so; the request itself would wait for ever
    assert (await task).text == ANSWER
    assert (home.cancelled, other.asked, two.outstanding) == (1, 1, 0)


async def test_caller_of_a_hanging_stream_is_not_disturbed(two: Two) -> None:
    chunks = two.engine.stream(ask())
    await anext(chunks)
    home, _ = home_of(two)
    home.up = False
    name = "a" if home is two.a else "b"
    await until(lambda: two.state(name) is State.OPEN)
    await asyncio.sleep(0.05)  # given up between two chunks
    assert "".join([chunk.text async for chunk in chunks]) == ANSWER[1:]


async def test_time_out_of_a_replica_is_not_taken_for_giving_up(two: Two) -> None:
    two.a.up = two.b.up = False
    two.a.error = two.b.error = TimeoutError("its own")
    with pytest.raises(TimeoutError, match="its own"):
        await two.engine.generate(ask())
