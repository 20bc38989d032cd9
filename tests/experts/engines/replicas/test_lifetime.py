"""Draining, closing, and watchers across event loops."""

from __future__ import annotations

import asyncio

import pytest

from experts.engines.replicas.circuit import State
from experts.errors import (
    EngineUnavailable,
)
from tests.experts.engines.replicas.switchable import ANSWER, ask
from tests.experts.engines.replicas.two import Two, home_of, until


async def test_drain_waits_for_what_was_accepted(two: Two) -> None:
    two.a.gate.clear()
    two.b.gate.clear()
    tasks = [asyncio.ensure_future(two.engine.generate(ask())) for _ in range(6)]
    await until(lambda: two.engine.snapshot().waiting == 2)
    assert await two.engine.drain(0.02) == 6
    assert two.engine.snapshot().draining
    with pytest.raises(EngineUnavailable, match="draining"):
        await two.engine.generate(ask())
    with pytest.raises(EngineUnavailable, match="draining"):
        await anext(two.engine.stream(ask()))
    two.a.gate.set()
    two.b.gate.set()
    assert await two.engine.drain(5) == 0
    assert [task.result().text for task in tasks] == [ANSWER] * 6


async def test_close(two: Two) -> None:
    two.a.gate.clear()
    two.b.gate.clear()
    tasks = [asyncio.ensure_future(two.engine.generate(ask())) for _ in range(5)]
    await until(lambda: two.engine.snapshot().waiting == 1)
    await two.engine.close()
    await two.engine.close()
    assert two.a.closed and two.b.closed
    with pytest.raises(EngineUnavailable, match="closed"):
        await tasks[4]
    with pytest.raises(EngineUnavailable, match="closed"):
        await two.engine.generate(ask())
    for task in tasks[:4]:
        task.cancel()
    await asyncio.wait(tasks)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("watch")]


async def test_crashed_watcher_is_replaced(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    await two.engine.generate(ask())

    async def crash() -> bool:
        raise RuntimeError("a bug")

    two.a.healthy = crash  # type: ignore[method-assign]
    watcher = next(task for task in asyncio.all_tasks() if task.get_name() == "watch a")
    await until(watcher.done)
    assert isinstance(watcher.exception(), RuntimeError)
    del two.a.healthy
    await two.engine.generate(ask())
    assert sum(task.get_name().startswith("watch") for task in asyncio.all_tasks()) == 2


async def test_another_event_loop_watches_anew() -> None:
    two = Two()

    async def lose() -> None:
        two.a.up = two.b.up = False
        with pytest.raises(EngineUnavailable):
            await two.engine.generate(ask())
        await until(lambda: (two.state("a"), two.state("b")) == (State.OPEN, State.OPEN))

    async def find_again() -> None:
        two.a.up = two.b.up = True
        with pytest.raises(EngineUnavailable):
            await two.engine.generate(ask())
        await until(lambda: two.state("a") is State.CLOSED)
        await two.engine.close()

    await asyncio.to_thread(asyncio.run, lose())
    await asyncio.to_thread(asyncio.run, find_again())


async def test_watchers_of_one_event_loop_serve_another(two: Two) -> None:
    await two.engine.generate(ask())  # they run in this one
    home, _ = home_of(two)
    gate = home.gate

    async def elsewhere() -> None:
        home.gate = asyncio.Event()
        task = asyncio.ensure_future(two.engine.generate(ask()))
        await until(lambda: home.running == 1)
        home.up = False
        assert (await task).text == ANSWER

    await asyncio.to_thread(asyncio.run, elsewhere())
    home.gate = gate
    assert (home.cancelled, two.outstanding) == (1, 0)
    await asyncio.to_thread(asyncio.run, two.engine.close())
    await until(lambda: not any(task.get_name().startswith("watch") for task in asyncio.all_tasks()))
