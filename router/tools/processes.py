"""Runs functions in processes that can be killed: an endless loop ends with its time, whatever it is made of."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from router.tools.child import LOAD_SECONDS
from router.tools.errors import ToolArgumentsError, ToolFailed, ToolTimeout, ToolUnavailable
from router.tools.frames import pack, receive
from router.tools.function import FunctionTool

_INSIDE = "TOKENGRAPH_TOOL_PROCESS"


def in_tool_process() -> bool:
    """Whether this is a process of ``ToolProcesses``, where nothing but a tool's call runs."""
    return _INSIDE in os.environ


@dataclass(frozen=True)
class Output:
    """What a tool gave; ``cut`` if it was longer than it may be."""

    text: str
    cut: bool = False


class ToolProcesses:
    """Some processes that are started when needed and used again; a process whose call ran out of time is killed.

    This keeps a run alive, it is no jail: a tool's own code may do what this user may.

    Args:
        limit: how many calls run at a time; further ones wait.
        megabytes: address space of each process, so that a tool's hunger ends in its own MemoryError.
    """

    def __init__(self, limit: int = 4, megabytes: int = 4096) -> None:
        self._places = asyncio.Semaphore(limit)
        self._megabytes = megabytes
        self._idle: list[Process] = []
        self._busy: set[Process] = set()

    async def run(self, tool: FunctionTool, arguments: Mapping[str, Any]) -> Output:
        """Calls the tool's function with checked arguments.

        Raises:
            ToolTimeout: it was stopped after the tool's seconds.
            ToolFailed: it raised, or its process ended.
            ToolUnavailable: no process can be started, or the function cannot be imported there.
            ToolArgumentsError: the arguments do not fit its types.
        """
        async with self._places:
            process = self._take_idle() or await self._start()
            self._busy.add(process)
            try:
                output = await _call(process, tool, arguments)
                self._idle.append(process)
            except (ToolFailed, ToolArgumentsError):
                if process.returncode is None:
                    self._idle.append(process)
                raise
            finally:
                self._busy.discard(process)
                if process not in self._idle:
                    await _kill(process)
            return output

    async def aclose(self) -> None:
        """Kills all processes; calls that still run fail."""
        ending = [*self._idle, *self._busy]
        self._idle.clear()
        for process in ending:
            await _kill(process)

    def _take_idle(self) -> Process | None:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        return None

    async def _start(self) -> Process:
        if in_tool_process():
            raise ToolUnavailable(
                "expected tools to be called from outside of a tool's process, found a call from inside one. Put what a "
                'script runs under `if __name__ == "__main__":`'
            )
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "router.tools.child", str(self._megabytes),
                stdin=PIPE, stdout=PIPE, start_new_session=True, env={**os.environ, "PYTHONPATH": path, _INSIDE: "1"},
            )  # fmt: skip
        except OSError as problem:
            raise ToolUnavailable(f"expected to start a process for tools, found {problem}") from problem


async def _call(process: Process, tool: FunctionTool, arguments: Mapping[str, Any]) -> Output:
    assert process.stdin and process.stdout
    request = {
        "name": tool.name, "function": tool.reference, "settings": tool.settings, "arguments": arguments,
        "seconds": tool.seconds, "max_output": tool.max_output,
    }  # fmt: skip
    limit = LOAD_SECONDS
    try:
        process.stdin.write(pack(request))
        await process.stdin.drain()
        async with asyncio.timeout(limit):
            loaded = await receive(process.stdout)
        if "loaded" not in loaded:
            raise ToolUnavailable(f"{tool.name}: expected to import {tool.reference}, found {loaded['failed']}")
        limit = tool.seconds
        async with asyncio.timeout(limit):
            reply = await receive(process.stdout)
    except TimeoutError:
        raise ToolTimeout(tool.name, limit) from None
    except (asyncio.IncompleteReadError, ConnectionError) as problem:
        code = await process.wait()
        if code == -signal.SIGALRM:  # its own alarm was first
            raise ToolTimeout(tool.name, limit) from None
        raise ToolFailed(f"{tool.name}: expected a result, found that its process ended with {code}") from problem
    if "misfit" in reply:
        raise ToolArgumentsError(reply["misfit"])
    if "failed" in reply:
        failure = ToolFailed(f"{tool.name}: {reply['failed']}")
        if "traceback" in reply:
            failure.add_note(reply["traceback"])
        raise failure
    return Output(reply["text"], reply["cut"])


async def _kill(process: Process) -> None:
    """Ends the process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
