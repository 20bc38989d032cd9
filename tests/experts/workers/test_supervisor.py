"""Servers that crash, hang, do not start or are not wanted any more: with stand-ins in place of vLLM."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from experts.errors import WorkerError
from experts.workers import server as server_module
from experts.workers.plan import Plan
from experts.workers.probe import Probe
from experts.workers.records import Records, RunningWorker
from experts.workers.restarts import Care, Restarts
from experts.workers.supervisor import Supervisor
from tests.experts.workers.conftest import CARE, Orders, gone, planned, until


@asynccontextmanager
async def supervised(plan: Plan, records: Records, care: Care = CARE) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(plan, records, care=care)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def phases(supervisor: Supervisor) -> list[str]:
    return [server.phase for worker in supervisor.workers() for server in worker.servers]


async def test_up_and_down(records: Records, orders: Orders) -> None:
    async with supervised(planned(orders.launch(), orders.launch()), records) as supervisor:
        await until(lambda: phases(supervisor) == ["healthy"] * 2)
        (found,) = records.all()
        assert found == supervisor.workers()[0] and len(set(found.urls)) == len(set(found.pids)) == 2
        for url in found.urls:
            async with Probe(url) as probe:
                assert await probe.healthy()
    assert records.all() == [] and all(map(gone, found.pids))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_server_comes_back_at_its_address(records: Records, orders: Orders, number: int) -> None:
    async with supervised(planned(orders.launch()), records) as supervisor:
        await until(lambda: phases(supervisor) == ["healthy"])
        (before,) = supervisor.workers()
        os.kill(before.pids[0], number)
        await until(lambda: supervisor.workers()[0].servers[0].restarts == 1 and phases(supervisor) == ["healthy"])
        (after,) = records.all()
        assert after.urls == before.urls and after.pids != before.pids
        error = after.servers[0].error
        assert error is not None and ("SIGKILL" in error if number == signal.SIGKILL else "signal 15" in error)


async def test_given_up_after_too_many_crashes(records: Records, orders: Orders) -> None:
    supervisor = Supervisor(planned(orders.launch()), records, care=CARE)
    task = asyncio.create_task(supervisor.run())
    await until(lambda: phases(supervisor) == ["healthy"])
    orders.give(crash="OddError: it hurts")
    with pytest.raises(
        WorkerError, match=r"worker w crashed 4 times: OddError: it hurts\. Its log: .*w-key-of-w-0\.log"
    ):
        await task
    (left,) = records.all()  # for `status`
    assert left.servers[0].phase == "failed" and left.servers[0].error == "OddError: it hurts"
    assert not left.running()


async def test_the_others_go_on(records: Records, orders: Orders, tmp_path: object) -> None:
    bad = Orders(orders.file.with_name("bad.json"))
    async with supervised(planned(orders.launch(), bad.launch()), records) as supervisor:
        await until(lambda: phases(supervisor) == ["healthy"] * 2)
        bad.give(crash="OddError: it hurts")
        await until(lambda: phases(supervisor) == ["healthy", "failed"])
        assert records.all()[0].running()


async def test_what_never_worked_is_not_tried_again(records: Records, orders: Orders) -> None:
    bad = Orders(orders.file.with_name("bad.json"))
    bad.give(error="ValueError: User-specified max_model_len (9) is greater than 8")
    supervisor = Supervisor(planned(orders.launch(), bad.launch()), records, care=CARE)
    with pytest.raises(
        WorkerError, match=r"worker w, replica 1 did not start: .* is greater than 8\. Lower max_model_len"
    ):
        await supervisor.run()
    assert phases(supervisor) == ["stopped", "failed"]
    assert supervisor.workers()[0].pids == ()


async def test_a_server_that_hangs(records: Records, orders: Orders) -> None:
    async with supervised(planned(orders.launch()), records) as supervisor:
        await until(lambda: phases(supervisor) == ["healthy"])
        orders.give(sick=True)
        await until(lambda: supervisor.workers()[0].servers[0].restarts == 1)
        assert supervisor.workers()[0].servers[0].error == "no answer from /health for 1 s"
        orders.give()
        await until(lambda: phases(supervisor) == ["healthy"])


async def test_a_server_that_never_gets_ready(records: Records, orders: Orders) -> None:
    orders.give(sick=True)
    with pytest.raises(WorkerError, match=r"no answer from /health for 1 s \(it was importing vLLM\)"):
        await Supervisor(planned(orders.launch()), records, care=replace(CARE, start=1)).run()


@pytest.mark.parametrize("noticed", [True, False], ids=["before the start", "by the server"])
async def test_another_port_where_the_first_is_taken(
    records: Records, orders: Orders, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = iter([taken.getsockname()[1], server_module.free_port()])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports))
        if not noticed:  # as if it were taken a moment after the look
            looks = iter([False])
            look = server_module.taken
            monkeypatch.setattr(server_module, "taken", lambda port: next(looks, None) is None and look(port))
        async with supervised(planned(orders.launch()), records) as supervisor:
            await until(lambda: phases(supervisor) == ["healthy"])
            assert supervisor.workers()[0].servers[0].restarts == 0
            assert str(taken.getsockname()[1]) not in records.all()[0].urls[0]


async def test_one_supervisor_for_a_worker(records: Records, orders: Orders) -> None:
    async with supervised(planned(orders.launch()), records) as first:
        await until(lambda: phases(first) == ["healthy"])
        with pytest.raises(WorkerError, match=rf"found process {os.getpid()}, .*workers down /s\.yaml"):
            await Supervisor(planned(orders.launch()), records, care=CARE).run()
        assert records.all() == list(first.workers())


async def test_any_name_will_do(records: Records, orders: Orders) -> None:
    async with supervised(planned(orders.launch(), name="../été 1/x"), records) as supervisor:
        await until(lambda: phases(supervisor) == ["healthy"])
        (log,) = supervisor.workers()[0].logs
        assert log.parent == records.logs and log.is_file()


async def test_every_change_is_told(records: Records, orders: Orders) -> None:
    told: list[str] = []

    def watch(workers: tuple[RunningWorker, ...]) -> None:
        told.append(workers[0].servers[0].phase)

    supervisor = Supervisor(planned(orders.launch()), records, care=CARE, watch=watch)
    task = asyncio.create_task(supervisor.run())
    await until(lambda: "healthy" in told)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert list(dict.fromkeys(told)) == ["starting", "healthy", "stopped"]


async def test_idle_servers_sleep_until_a_request_comes(records: Records, orders: Orders) -> None:
    async with supervised(planned(orders.launch(sleep_after=0.3)), records) as supervisor:
        await until(lambda: phases(supervisor) == ["asleep"])
        assert orders.calls.read_text() == "/sleep?level=1&mode=wait\n"
        orders.give(load=1)
        await until(lambda: phases(supervisor) == ["healthy"])
        assert orders.calls.read_text().splitlines()[1:] == ["/wake_up"]
        orders.give(load=0, finished=1)
        await until(lambda: phases(supervisor) == ["asleep"])


async def test_a_server_that_takes_long_to_fall_asleep_and_to_wake_is_left_alone(
    records: Records, orders: Orders
) -> None:
    orders.give(moving=1.5)  # longer than it may be silent
    async with supervised(planned(orders.launch(sleep_after=0.3)), records) as supervisor:
        await until(lambda: phases(supervisor) == ["asleep"])
        orders.give(moving=1.5, load=1)
        await until(lambda: phases(supervisor) == ["healthy"])
        await asyncio.sleep(0.5)
        assert orders.calls.read_text().splitlines() == ["/sleep?level=1&mode=wait", "/wake_up"]
        (server,) = supervisor.workers()[0].servers
        assert (server.phase, server.restarts, server.error) == ("healthy", 0, None)


def test_waits_double_and_old_crashes_are_forgotten() -> None:
    restarts = Restarts(Care(wait=1, longest_wait=5, restarts=4, window=100))
    assert [restarts.wait(now) for now in (0, 1, 2, 3, 4)] == [1, 2, 4, 5, None]
    assert restarts.wait(101.5) == 4 and restarts.count == 5
