"""Functions run in processes that any of them may ruin: the call fails in time, and the next one does not notice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from router.tools.call import ToolCaller, ToolResult
from router.tools.errors import ToolFailed, ToolTimeout, ToolUnavailable
from router.tools.function import FunctionTool
from router.tools.processes import ToolProcesses
from router.tools.registry import Registry
from tests.router.tools import functions

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOLS = Registry(found for found in vars(functions).values() if isinstance(found, FunctionTool))


async def _call(processes: ToolProcesses, name: str, text: str = "()") -> ToolResult:
    return await ToolCaller(TOOLS, processes=processes).call(name, text)


async def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_a_process_serves_many_calls(processes: ToolProcesses) -> None:
    assert (await _call(processes, "process_id")).text == (await _call(processes, "process_id")).text


@pytest.mark.parametrize("name", ["endless", "endless_in_c"])
async def test_an_endless_loop_is_stopped_in_time(processes: ToolProcesses, name: str) -> None:
    before = (await _call(processes, "process_id")).text
    result = await _call(processes, name)
    assert isinstance(result.error, ToolTimeout)
    assert result.text == f"error: {name}: expected a result within 1 s, found none; it was stopped"
    assert result.seconds < 8  # of which starting and importing may take some
    await _until(lambda: _gone(int(before)))
    assert (await _call(processes, "process_id")).text != before


async def test_what_a_tool_has_started_ends_with_it(processes: ToolProcesses, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    result = await _call(processes, "parent_of_endless", f"('{file}')")
    assert isinstance(result.error, ToolTimeout)
    await _until(lambda: _gone(int(file.read_text())))


async def test_a_flood_is_cut(processes: ToolProcesses) -> None:
    result = await _call(processes, "flood", "(10_000_000)".replace("_", ""))
    assert (result.text, result.cut) == ("é" * 4000, True)
    result = await _call(processes, "flood", "(4000)")
    assert (len(result.text), result.cut) == (4000, False)


async def test_a_tool_that_takes_all_memory_fails_alone() -> None:
    small = ToolProcesses(limit=1, megabytes=512)
    try:
        result = await _call(small, "hungry")
        assert result.text.startswith("error: hungry: MemoryError")
        assert (await _call(small, "multiply", "(2, 3)")).text == "6"
    finally:
        await small.aclose()


async def test_a_process_that_ends_is_an_error_and_is_replaced(processes: ToolProcesses) -> None:
    result = await _call(processes, "ends_its_process", "(7)")
    assert isinstance(result.error, ToolFailed)
    assert result.text == "error: ends_its_process: expected a result, found that its process ended with 7"
    assert (await _call(processes, "multiply", "(2, 3)")).text == "6"


async def test_an_idle_process_that_was_killed_is_replaced(processes: ToolProcesses) -> None:
    pid = int((await _call(processes, "process_id")).text)
    os.kill(pid, signal.SIGKILL)
    await _until(lambda: _gone(pid))
    await _until(lambda: all(idle.returncode is not None for idle in processes._idle if idle.pid == pid))
    assert int((await _call(processes, "process_id")).text) != pid


async def test_what_a_tool_prints_and_reads_does_not_disturb(processes: ToolProcesses) -> None:
    assert (await _call(processes, "talkative")).text == "read '', half a character ?"
    assert (await _call(processes, "multiply", "(2, 3)")).text == "6"


async def test_tools_do_not_call_tools(processes: ToolProcesses) -> None:
    assert "found a call from inside one" in (await _call(processes, "calls_a_tool")).text


async def test_a_function_that_the_process_cannot_import_is_unavailable(processes: ToolProcesses) -> None:
    lost = replace(functions.multiply, reference="no_such_module:multiply")
    result = await ToolCaller(Registry([lost]), processes=processes).call("multiply", "(1)")
    assert isinstance(result.error, ToolUnavailable)
    assert "No module named 'no_such_module'" in result.text


async def test_calls_run_side_by_side_up_to_the_limit(processes: ToolProcesses) -> None:
    pids = {result.text for result in await asyncio.gather(*(_call(processes, "process_id") for _ in range(6)))}
    assert 1 <= len(pids) <= 2


async def test_a_cancelled_call_leaves_no_process(processes: ToolProcesses) -> None:
    pid = int((await _call(processes, "process_id")).text)
    task = asyncio.create_task(_call(processes, "hungry"))
    await _until(lambda: bool(processes._busy))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes._busy
    await _until(lambda: _gone(pid))


async def test_closed_processes_are_gone_and_start_anew() -> None:
    caller = ToolCaller(TOOLS)
    pid = int((await caller.call("process_id", "")).text)
    await caller.aclose()
    assert _gone(pid)
    assert (await caller.call("multiply", "(2, 3)")).text == "6"
    await caller.aclose()


OWNER = """
import asyncio, sys
from dataclasses import replace
from tests.router.tools import functions
from router.tools.processes import ToolProcesses
async def main():
    processes = ToolProcesses()
    print(await processes.run(functions.process_id, {}), flush=True)
    await processes.run(replace(functions.endless, seconds=float(sys.argv[1])), {})
asyncio.run(main())
"""


async def test_a_busy_process_does_not_outlive_a_killed_owner() -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, "0.5", stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert owner.stdout
    pid = int((await owner.stdout.readline()).decode().split("'")[1])
    child = psutil.Process(pid)
    used = child.cpu_times().user
    await _until(lambda: child.cpu_times().user > used + 0.1)  # in its endless loop by now
    owner.kill()
    await owner.wait()
    killed = time.monotonic()
    await _until(lambda: _gone(pid))
    assert time.monotonic() - killed < 15
