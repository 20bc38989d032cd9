from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio

from experts.engines.base import Capability, EngineInfo
from experts.engines.config import Rule, ScriptedWorker
from experts.engines.replicas.circuit import State, Tolerance
from experts.engines.replicas.engine import ReplicatedEngine
from experts.engines.replicas.options import ReplicaOptions
from experts.engines.scripted import ScriptedEngine
from experts.errors import (
    CapabilityError,
    DeadlineExceeded,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestError,
)
from tests.experts.engines.replicas.switchable import ANSWER, SwitchableEngine, ask

FAST = ReplicaOptions(
    max_concurrency=2, queue=2, pause=0.001, probe_every=0.01, check_every=0.05, probe_timeout=0.05,
    tolerance=Tolerance(consecutive=3),
)  # fmt: skip


class Two:
    """Two switchable replicas behind one engine."""

    def __init__(self, options: ReplicaOptions = FAST) -> None:
        self.a, self.b = SwitchableEngine(), SwitchableEngine()
        self.engine = ReplicatedEngine({"a": self.a, "b": self.b}, options)

    def state(self, name: str) -> State:
        return next(replica.state for replica in self.engine.snapshot().replicas if replica.name == name)

    @property
    def asked(self) -> tuple[int, int]:
        return self.a.asked, self.b.asked

    @property
    def outstanding(self) -> int:
        return sum(replica.outstanding for replica in self.engine.snapshot().replicas)


@pytest_asyncio.fixture
async def two() -> AsyncIterator[Two]:
    made = Two()
    yield made
    await made.engine.close()


def home_of(two: Two) -> tuple[SwitchableEngine, SwitchableEngine]:
    """The one that was asked, and the other."""
    return (two.a, two.b) if two.a.asked else (two.b, two.a)


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


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


async def test_lacking_capability_is_nobodys_failure(two: Two) -> None:
    with pytest.raises(CapabilityError):
        await two.engine.embed(["a"])
    with pytest.raises(CapabilityError):
        await two.engine.hidden_states([ask()])
    with pytest.raises(CapabilityError):
        await two.engine.extend_vocabulary({"<x>": np.zeros(4, dtype=np.float32)})
    assert two.state("a") is two.state("b") is State.CLOSED


class Like(SwitchableEngine):
    """With facts of its own."""

    def __init__(self, lacks: frozenset[Capability] = frozenset(), **facts: object) -> None:
        super().__init__()
        self._lacks = lacks
        self._facts = facts

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, **self._facts)  # type: ignore[arg-type]

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - self._lacks


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Like(vocabulary_size=7), "vocabulary_size 7 instead of"),
        (Like(context_length=7), "context_length 7 instead of 1000000"),
        (Like(fingerprint="f", vocabulary_size=7), "fingerprint f instead of .* and vocabulary_size"),
        (Like(frozenset({Capability.LOGPROBS})), "capabilities that differ by logprobs"),
        (ScriptedEngine(ScriptedWorker(engine="scripted", rules=(Rule(),))), "fingerprint"),
    ],
)
def test_different_models_are_no_replicas(other: ScriptedEngine, difference: str) -> None:
    with pytest.raises(EngineError, match=f"found http://b with {difference}"):
        ReplicatedEngine({"http://a": Like(), "http://b": other})
    ReplicatedEngine({"a": Like(model="here"), "b": Like(model="there")})


def test_at_least_one() -> None:
    with pytest.raises(EngineError, match="at least one"):
        ReplicatedEngine({})
