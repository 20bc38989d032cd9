"""Processes end with those that started them, and take with them what they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from experts.workers import guard
from experts.workers.identity import ProcessId
from experts.workers.process import kill_group, running
from tests.experts.workers.conftest import STANDIN, Orders, gone, until

CHILD = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0).pid, flush=True); "


def argv(orders: Orders) -> tuple[str, ...]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return (sys.executable, str(STANDIN), "--orders", str(orders.file), "--port", str(sock.getsockname()[1]))


async def with_child(orders: Orders, **more: object) -> tuple[str, ...]:
    orders.give(child=str(orders.file.with_suffix(".child")), **more)
    return argv(orders)


async def child_of(orders: Orders) -> int:
    file = orders.file.with_suffix(".child")
    await until(lambda: file.exists() and file.read_text())
    return int(file.read_text())


async def test_stopped_with_its_children(orders: Orders, tmp_path: Path) -> None:
    async with running(await with_child(orders), {}, tmp_path / "log", grace=5) as process:
        child = await child_of(orders)
        assert process.identity is not None and process.identity.alive() and not gone(child)
        assert not await process.ended(0.01)
    assert gone(process.identity.pid) and process.exit_code == 128 + signal.SIGTERM
    await until(lambda: gone(child))


async def test_killed_if_it_does_not_listen(orders: Orders, tmp_path: Path) -> None:
    async with running(await with_child(orders, deaf=True), {}, tmp_path / "log", grace=0.2) as process:
        child = await child_of(orders)
    assert process.exit_code == 128 + signal.SIGKILL
    await until(lambda: gone(child))


async def test_what_a_crash_leaves_is_killed(orders: Orders, tmp_path: Path) -> None:
    async with running(await with_child(orders), {}, tmp_path / "log", grace=5) as process:
        child = await child_of(orders)
        assert process.identity is not None
        os.kill(process.identity.pid, signal.SIGKILL)
        assert await process.ended(10)
        assert process.exit_code == 128 + signal.SIGKILL
        await until(lambda: gone(child))


async def test_a_killed_guard_takes_nobody_out_of_reach(orders: Orders, tmp_path: Path) -> None:
    async with running(await with_child(orders), {}, tmp_path / "log", grace=5) as process:
        child = await child_of(orders)
        assert process.identity is not None
        os.kill(os.getsid(process.identity.pid), signal.SIGKILL)  # the guard leads the session
        assert await process.ended(10)
    await until(lambda: gone(child) and gone(process.identity.pid))


async def test_a_killed_supervisor_leaves_nobody(orders: Orders) -> None:
    command = [sys.executable, guard.__file__, "5", *await with_child(orders)]
    supervisor = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import subprocess; subprocess.Popen({command!r}, stdin=-1); import time; time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    server = int(supervisor.stdout.readline())
    child = await child_of(orders)
    assert not gone(server)
    supervisor.kill()
    supervisor.wait()
    await until(lambda: gone(server) and gone(child))
    supervisor.stdout.close()


async def test_output_and_its_predecessor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for text in ("one", "two"):
        async with running((sys.executable, "-c", f"print('{text}')"), {}, log, grace=1) as process:
            assert await process.ended(10)
            assert process.log_text() == f"{text}\n" and process.log_text(1) == f"{text[1:]}\n"
    assert log.with_name("log.previous").read_text() == "one\n"
    assert log.stat().st_mode & 0o077 == 0


async def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    async with running(("/no/such/program",), {}, tmp_path / "log", grace=1) as process:
        assert await process.ended(10)
        assert process.identity is None and process.exit_code == 1
        assert "No such file or directory: '/no/such/program'" in process.log_text()


async def test_members_of_a_group_whose_leader_is_gone() -> None:
    code = CHILD.replace("stdin=0", "stdin=subprocess.PIPE") + "import os; os._exit(0)"
    code = code.replace("'input()'", "'import signal; signal.sigwait([signal.SIGUSR1])'")
    leader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, process_group=0)
    identity = ProcessId.of(leader.pid)
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    leader.wait()
    leader.stdout.close()
    kill_group(identity, until=identity.started - 1)  # the number belongs to others by then
    assert not gone(child)
    kill_group(identity)
    await until(lambda: gone(child))
