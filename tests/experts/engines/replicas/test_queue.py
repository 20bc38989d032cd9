from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from experts.engines.replicas.circuit import Circuit, State, Tolerance
from experts.engines.replicas.lease import Lease
from experts.engines.replicas.queue import Queue
from experts.engines.replicas.replica import Replica
from experts.errors import DeadlineExceeded, EngineOverloaded, EngineUnavailable, RequestError
from tests.experts.engines.replicas.switchable import SwitchableEngine

LOST = EngineUnavailable("lost")


def replica(name: str, places: int = 2) -> Replica:
    return Replica(name, SwitchableEngine(), Circuit(Tolerance(consecutive=2)), places)


async def turns() -> None:
    """Lets every task go on as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def start(queue: Queue, **how: object) -> asyncio.Task[Lease]:
    return asyncio.ensure_future(queue.acquire(**how))  # type: ignore[arg-type]


async def test_in_the_order_of_arrival() -> None:
    queue = Queue("m", [replica("a", 1)], limit=10)
    lease = await queue.acquire()
    waiting = [start(queue) for _ in range(3)]
    for task in waiting:
        await turns()
        assert not task.done()
        lease.finish()
        lease = await task


async def test_full_queue_says_when_to_come_back() -> None:
    queue = Queue("m", [replica("a", 2)], limit=3)
    held = [await queue.acquire() for _ in range(2)]
    queue.seconds = 4.0
    waiting = [start(queue) for _ in range(3)]
    await turns()
    with pytest.raises(EngineOverloaded, match="at most 3 requests waiting") as caught:
        await queue.acquire()
    assert caught.value.retry_after == pytest.approx(4.0 * (3 + 1) / 2)
    assert queue.refused == 1
    for lease in held:
        lease.finish()
    for task in waiting:
        (await task).finish()


async def test_service_time_is_measured() -> None:
    queue = Queue("m", [replica("a")], limit=3)
    assert queue.seconds is None
    lease = await queue.acquire()
    await asyncio.sleep(0.02)
    lease.finish(LOST)
    assert queue.seconds is None  # failures come early, and would promise too much
    lease = await queue.acquire()
    await asyncio.sleep(0.02)
    lease.finish()
    assert queue.seconds == pytest.approx(lease.seconds, abs=0.01)


async def test_one_that_comes_back_is_next_and_never_refused() -> None:
    a, b = replica("a", 1), replica("b", 1)
    queue = Queue("m", [a, b], limit=1)
    held = {lease.replica: lease for lease in [await queue.acquire(), await queue.acquire()]}
    first = start(queue)
    await turns()
    again = start(queue, tried={a})
    await turns()
    held[a].finish()  # the one that has tried a waits for b; the other may have a
    assert (await first).replica is a
    held[b].finish()
    assert (await again).replica is b


async def test_tried_ones_are_taken_when_no_other_is_up() -> None:
    a, b = replica("a"), replica("b")
    queue = Queue("m", [a, b], limit=1)
    assert (await queue.acquire(tried={a})).replica is b
    assert (await queue.acquire(tried={a, b})).replica is a
    b.circuit.open()
    assert (await queue.acquire(tried={a})).replica is a


async def test_deadline_while_waiting() -> None:
    queue = Queue("m", [replica("a", 1)], limit=2)
    lease = await queue.acquire()
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="deadline"):
        await queue.acquire(deadline=started + 0.05)
    assert 0.04 < time.monotonic() - started < 1
    assert queue.waiting == 0
    lease.finish()
    with pytest.raises(DeadlineExceeded):
        await queue.acquire(deadline=time.monotonic())
    assert (await queue.acquire(deadline=time.monotonic() + 9)).replica.outstanding == 1


async def test_all_down() -> None:
    a = replica("a", 1)
    queue = Queue("m", [a], limit=2)
    lease = await queue.acquire()
    waiting = [start(queue) for _ in range(2)]
    await turns()
    lease.finish(LOST)
    other = await waiting[0]
    other.finish(LOST)
    with pytest.raises(EngineUnavailable, match="a: lost"):
        await waiting[1]
    with pytest.raises(EngineUnavailable, match="a: lost"):
        await queue.acquire()
    a.circuit.probed(True)
    queue.dispatch()
    trial = await queue.acquire()
    second = start(queue)
    await turns()
    assert not second.done()  # one at a time, until it is known to be back
    trial.finish()
    await second


async def test_first_sign_of_an_answer_lets_the_others_in() -> None:
    a = replica("a", 2)
    queue = Queue("m", [a], limit=2)
    a.circuit.open()
    a.circuit.probed(True)
    trial = await queue.acquire()
    second = start(queue)
    await turns()
    assert not second.done()
    trial.answered()
    await second


async def test_what_does_not_speak_against_a_replica() -> None:
    a = replica("a", 9)
    queue = Queue("m", [a], limit=2)
    for error in [RequestError("r"), DeadlineExceeded("d"), asyncio.CancelledError(), EngineOverloaded("o", 1.0)] * 3:
        (await queue.acquire()).finish(error)
    assert (a.circuit.state, a.outstanding, a.served, a.failed) == (State.CLOSED, 0, 0, 3)


@pytest.mark.parametrize("steps", range(4))
async def test_cancelled_between_place_given_and_taken(steps: int) -> None:
    a = replica("a", 1)
    queue = Queue("m", [a], limit=2)
    lease = await queue.acquire()
    waiting = start(queue)
    await turns()
    lease.finish()  # gives the place to the one who waits
    assert a.outstanding == 1
    for _ in range(steps):
        await asyncio.sleep(0)
    if waiting.done():
        waiting.result().finish()
    waiting.cancel()
    await turns()
    assert waiting.cancelled() == (steps < 2)
    assert a.outstanding == 0


async def test_several_event_loops() -> None:
    """Each holds the only place for a moment; all of them get it."""
    queue = Queue("m", [replica("a", 1)], limit=99)
    inside, most = 0, 0

    async def visit(number: int) -> None:
        nonlocal inside, most
        for _ in range(number):
            with await queue.acquire():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.0005)
                inside -= 1

    async def visits() -> None:
        await asyncio.gather(*(visit(20) for _ in range(3)))

    async with asyncio.timeout(20):
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, visits()) for _ in range(4)), visits())
    assert most == 1
    assert queue.waiting == 0


async def test_closed() -> None:
    queue = Queue("m", [replica("a", 1)], limit=2)
    await queue.acquire()
    waiting = start(queue)
    await turns()
    queue.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await waiting
    with pytest.raises(EngineUnavailable, match="closed"):
        await queue.acquire()


class QueueMachine(RuleBasedStateMachine):
    """Requests come, wait, finish, fail and go away in any order, at three replicas that go down and come back."""

    limit = 4

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.replicas = [replica("a", 1), replica("b", 1), replica("c", 2)]
        self.queue = Queue("m", self.replicas, self.limit)
        self.tasks: list[asyncio.Task[Lease]] = []
        self.held: list[Lease] = []

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(turns())
        self.loop.close()

    def settle(self) -> None:
        """Collects who got a place. Among those who came first-time, nobody may overtake."""
        self.loop.run_until_complete(turns())
        done = [task for task in self.tasks if task.done()]
        for task in done:
            if not task.cancelled() and not task.exception():
                self.held.append(task.result())
                earlier = self.tasks[: self.tasks.index(task)]
                assert all(one.done() or one.get_name() == "again" for one in earlier) or task.get_name() == "again"
            elif not task.cancelled():
                assert isinstance(task.exception(), EngineUnavailable)
                if not isinstance(task.exception(), EngineOverloaded):
                    assert not any(one.up for one in self.replicas)
        self.tasks = [task for task in self.tasks if not task.done()]

    @rule(key=st.none() | st.sampled_from([b"x", b"y", b"z"]))
    def come(self, key: bytes | None) -> None:
        full = self.queue.waiting >= self.limit and not any(one.free for one in self.replicas)
        refused = self.queue.refused
        self.tasks.append(self.loop.create_task(self.queue.acquire(key), name="first"))
        self.settle()
        assert self.queue.refused - refused == full

    @rule(tried=st.sets(st.integers(0, 2), min_size=1))
    def come_back(self, tried: set[int]) -> None:
        acquire = self.queue.acquire(tried=[self.replicas[n] for n in tried])
        refused = self.queue.refused
        self.tasks.append(self.loop.create_task(acquire, name="again"))
        self.settle()
        assert self.queue.refused == refused

    @precondition(lambda self: self.held)
    @rule(data=st.data(), error=st.sampled_from([None, LOST, RequestError("r")]))
    def finish(self, data: st.DataObject, error: Exception | None) -> None:
        self.held.pop(data.draw(st.integers(0, len(self.held) - 1))).finish(error)
        self.settle()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), error=st.sampled_from([None, LOST]))
    def go_away(self, data: st.DataObject, error: Exception | None) -> None:
        """Also at the moment in which another one finishes."""
        if self.held:
            self.held.pop().finish(error)
        data.draw(st.sampled_from(self.tasks)).cancel()
        self.settle()

    @precondition(lambda self: self.held)
    @rule()
    def answer(self) -> None:
        self.held[0].answered()
        self.settle()

    @rule(which=st.integers(0, 2), healthy=st.booleans())
    def probe(self, which: int, healthy: bool) -> None:
        self.replicas[which].circuit.probed(healthy)
        self.queue.dispatch()
        self.settle()

    @invariant()
    def places_are_counted(self) -> None:
        for one in self.replicas:
            assert one.outstanding == sum(lease.replica is one for lease in self.held)
            assert one.outstanding <= one.max_concurrency

    @invariant()
    def nobody_waits_without_need(self) -> None:
        assert self.queue.waiting == len(self.tasks)
        assert sum(task.get_name() == "first" for task in self.tasks) <= self.limit
        if not any(one.up for one in self.replicas):
            assert not self.tasks
        if any(one.free for one in self.replicas):
            assert all(task.get_name() == "again" for task in self.tasks)


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase
