"""Which replica answers, and what happens when one is lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from experts.engines.replicas.circuit import State
from experts.engines.replicas.engine import ReplicatedEngine
from experts.errors import (
    CapabilityError,
    DeadlineExceeded,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestError,
)
from tests.experts.engines.replicas.switchable import ANSWER, SwitchableEngine, ask
from tests.experts.engines.replicas.two import FAST, Two, until


async def test_a_dialogue_stays_and_dialogues_are_spread(two: Two) -> None:
    for _ in range(3):
        await two.engine.generate(ask("the same"))
    assert sorted(two.asked) == [0, 3]
    for n in range(40):
        await two.engine.generate(ask(f"question {n}"))
    assert min(two.asked) > 8


async def test_load_is_shared_when_all_come_at_once(two: Two) -> None:
    two.a.gate.clear()
    two.b.gate.clear()
    tasks = [asyncio.ensure_future(two.engine.generate(ask("the same"))) for _ in range(4)]
    await until(lambda: sum(two.asked) == 4)
    assert two.asked == (2, 2)
    two.a.gate.set()
    two.b.gate.set()
    await asyncio.gather(*tasks)


async def test_lost_request_is_answered_by_the_other(two: Two) -> None:
    two.a.up = False
    for n in range(20):
        assert (await two.engine.generate(ask(f"question {n}"))).text == ANSWER
    assert two.b.asked == 20
    assert two.a.asked == 3  # then its circuit was open
    lost, answered = two.engine.snapshot().replicas
    assert (lost.served, lost.failed, lost.retried, lost.state) == (0, 3, 3, State.OPEN)
    assert (answered.served, answered.failed, answered.retried, answered.state) == (20, 0, 0, State.CLOSED)
    assert lost.last_error == "it is down"


async def test_it_comes_back(two: Two) -> None:
    two.a.up = False
    for n in range(10):
        await two.engine.generate(ask(f"question {n}"))
    assert two.state("a") is State.OPEN
    two.a.up = True
    await until(lambda: two.state("a") is State.CLOSED)
    before = two.a.asked
    for n in range(20):
        await two.engine.generate(ask(f"question {n}"))
    assert two.a.asked > before


async def test_health_checks_find_what_no_request_has(two: Two) -> None:
    await two.engine.generate(ask())
    two.a.up = two.b.up = False
    await until(lambda: (two.state("a"), two.state("b")) == (State.OPEN, State.OPEN))
    asked = two.asked
    with pytest.raises(EngineUnavailable, match="health check"):
        await two.engine.generate(ask())
    assert two.asked == asked


async def test_a_health_check_that_hangs_is_a_failed_one() -> None:
    class Hanging(SwitchableEngine):
        async def healthy(self) -> bool:
            await asyncio.Event().wait()
            return True

    engine = ReplicatedEngine({"a": Hanging()}, FAST)
    await engine.generate(ask())
    await until(lambda: engine.snapshot().replicas[0].state is State.OPEN)
    await engine.close()


async def test_without_health_checks_a_request_is_the_trial() -> None:
    class Mute(SwitchableEngine):
        healthy = None  # type: ignore[assignment]

    alone = Mute()
    engine = ReplicatedEngine({"a": alone}, FAST)
    alone.up = False
    with pytest.raises(EngineUnavailable):
        await engine.generate(ask())
    assert engine.snapshot().replicas[0].state is State.OPEN
    alone.up = True
    await until(lambda: engine.snapshot().replicas[0].state is State.HALF_OPEN)
    assert (await engine.generate(ask())).text == ANSWER
    assert engine.snapshot().replicas[0].state is State.CLOSED
    await engine.close()


async def test_last_replica_is_tried_a_few_times() -> None:
    alone = SwitchableEngine()
    engine = ReplicatedEngine({"a": alone}, replace(FAST, repeats=1))
    alone.up = False
    with pytest.raises(EngineUnavailable, match=r"^it is down$"):
        await engine.generate(ask())
    assert alone.asked == 2
    await engine.close()


async def test_wrong_requests_are_not_repeated(two: Two) -> None:
    for error in (RequestError("wrong"), DeadlineExceeded("late"), EngineError("no")):
        two.a.up = two.b.up = False
        two.a.error = two.b.error = error
        asked = sum(two.asked)
        with pytest.raises(type(error)):
            await two.engine.generate(ask())
        assert sum(two.asked) == asked + 1
    assert two.engine.snapshot().replicas[0].failed == 0


async def test_overloaded_server_is_no_broken_one(two: Two) -> None:
    two.a.up = False
    two.a.error = EngineOverloaded("busy", 3.0)
    for n in range(20):
        await two.engine.generate(ask(f"question {n}"))
    assert two.state("a") is State.CLOSED
    assert two.a.asked > 3
    two.b.up, two.b.error = False, EngineOverloaded("busy", 3.0)
    asked = sum(two.asked)
    with pytest.raises(EngineOverloaded) as caught:
        await two.engine.generate(ask())
    assert caught.value.retry_after == 3.0
    assert sum(two.asked) == asked + 2  # each once


async def test_queue_is_bounded(two: Two) -> None:
    two.a.gate.clear()
    two.b.gate.clear()
    tasks = [asyncio.ensure_future(two.engine.generate(ask())) for _ in range(6)]
    await until(lambda: two.engine.snapshot().waiting == 2)
    with pytest.raises(EngineOverloaded) as caught:
        await two.engine.generate(ask())
    assert caught.value.retry_after > 0
    assert two.engine.snapshot().refused == 1
    assert (two.a.running, two.b.running) == (2, 2)
    two.a.gate.set()
    two.b.gate.set()
    assert [answer.text for answer in await asyncio.gather(*tasks)] == [ANSWER] * 6


async def test_deadline_in_the_queue_never_reaches_a_replica(two: Two) -> None:
    two.a.gate.clear()
    two.b.gate.clear()
    tasks = [asyncio.ensure_future(two.engine.generate(ask())) for _ in range(4)]
    await until(lambda: sum(two.asked) == 4)
    for call in (two.engine.generate, lambda request: anext(two.engine.stream(request))):
        with pytest.raises(DeadlineExceeded):
            await call(ask(deadline=time.monotonic() + 0.02))  # type: ignore[operator]
    two.a.gate.set()
    two.b.gate.set()
    await asyncio.gather(*tasks)
    assert sum(two.asked) == 4


async def test_cancelled_caller_cancels_the_request(two: Two) -> None:
    two.a.gate.clear()
    two.b.gate.clear()
    task = asyncio.ensure_future(two.engine.generate(ask()))
    await until(lambda: sum(two.asked) == 1)
    task.cancel()
    await until(task.done)
    assert two.a.cancelled + two.b.cancelled == 1
    assert two.outstanding == 0


async def test_lacking_capability_is_nobodys_failure(two: Two) -> None:
    with pytest.raises(CapabilityError):
        await two.engine.embed(["a"])
    with pytest.raises(CapabilityError):
        await two.engine.hidden_states([ask()])
    with pytest.raises(CapabilityError):
        await two.engine.extend_vocabulary({"<x>": np.zeros(4, dtype=np.float32)})
    assert two.state("a") is two.state("b") is State.CLOSED
