"""Tools of real MCP servers, over stdio and HTTP: in order, dying and hanging ones."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from router.tools.ask import PendingCall
from router.tools.call import ToolCaller
from router.tools.errors import (
    ToolArgumentsError,
    ToolDefinitionError,
    ToolDenied,
    ToolError,
    ToolFailed,
    ToolTimeout,
    ToolUnavailable,
)
from router.tools.mcp import McpTool, mcp_tools
from router.tools.mcp_connection import HttpSource, StdioSource
from router.tools.mcp_server import McpServer
from router.tools.registry import Registry

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER = str(Path(__file__).parent / "servers" / "desk.py")


async def _yes(call: PendingCall) -> bool:
    return True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk() -> AsyncIterator[ToolCaller]:
    server = McpServer(StdioSource((sys.executable, SERVER)))
    caller = ToolCaller(Registry(await mcp_tools(server, seconds=60)), consent=_yes)
    yield caller
    children = psutil.Process().children()
    await caller.aclose()
    assert not [child for child in children if child.is_running() and SERVER in child.cmdline()]


def _with(caller: ToolCaller, **limits: Any) -> ToolCaller:
    return ToolCaller(Registry(replace(tool, **limits) for tool in caller.tools), consent=_yes)


async def test_tools_are_described_by_their_server(desk: ToolCaller) -> None:
    add = desk.tools["add"]
    assert isinstance(add, McpTool)
    assert (add.description, add.parameters, add.side_effects) == ("Adds two numbers.", ("a", "b"), False)
    assert desk.tools["delete"].side_effects


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("add", "add(2, b=3)", "5"),
        ("add", '{"a": 2, "b": 3}', "5"),
        ("shape", "('round')", "round a"),
        ("delete", "(letters)", "deleted letters"),
        ("refuse", "()", "error: refuse: Error executing tool refuse: the drawer is locked"),
    ],
)
async def test_a_tool_is_called(desk: ToolCaller, name: str, text: str, expected: str) -> None:
    assert (await desk.call(name, text)).text == expected


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("add", "(1, 200)", "b: 200 is greater than the maximum of 100"),
        ("add", "(1)", "'b' is a required property"),
        ("add", "('x', 1)", "a: 'x' is not of type 'integer'"),
        ("add", "(1, 2, c=3)", "found 'c'"),
        ("shape", "('oval')", "kind: 'oval' is not one of"),
    ],
)
async def test_arguments_are_checked_before_the_server_sees_them(
    desk: ToolCaller, name: str, text: str, reason: str
) -> None:
    result = await desk.call(name, text)
    assert isinstance(result.error, ToolArgumentsError)
    assert reason in result.text


async def test_a_server_gets_plain_numbers(desk: ToolCaller) -> None:
    found = desk.tools["wait"].read("(0.12345678901234567890123)")
    assert found == {"seconds": 0.12345678901234568} and type(found["seconds"]) is float
    assert (await desk.call("wait", "(0.0010000000000000000000001)")).error is None


async def test_a_pattern_that_takes_for_ever_is_the_servers_to_check(desk: ToolCaller) -> None:
    begun = time.process_time()
    result = await desk.call("shape", {"kind": "round", "note": "a" * 60 + "!"})
    assert isinstance(result.error, ToolFailed)
    assert "should match pattern" in result.text
    assert time.process_time() - begun < 2


async def test_a_long_result_is_cut(desk: ToolCaller) -> None:
    result = await desk.call("flood", "(100000)")
    assert (result.text, result.cut) == ("x" * 4000, True)


async def test_a_server_that_died_since_is_started_again(desk: ToolCaller) -> None:
    pid = int((await desk.call("wait", "(0)")).text)
    os.kill(pid, signal.SIGKILL)
    result = await desk.call("wait", "(0)")
    assert result.error is None
    assert int(result.text) != pid


async def test_a_server_that_hangs_is_left_in_time_and_others_keep_their_calls(desk: ToolCaller) -> None:
    pid = (await desk.call("wait", "(0)")).text
    hanging, slow = await asyncio.gather(_with(desk, seconds=1).call("hang", "()"), desk.call("wait", "(2)"))
    assert isinstance(hanging.error, ToolTimeout)
    assert hanging.seconds < 3
    assert (slow.error, slow.text) == (None, pid)
    assert (await desk.call("wait", "(0)")).text != pid


async def test_a_server_that_dies_in_a_call_is_an_error_and_started_again(desk: ToolCaller) -> None:
    result = await desk.call("die", "()")
    assert isinstance(result.error, ToolUnavailable)
    assert "went away" in result.text
    assert result.seconds < 10
    assert (await desk.call("add", "(2, 3)")).text == "5"


@contextmanager
def _http_server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, SERVER, str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, "the server did not start"
                    time.sleep(0.05)
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_server_over_http_may_come_die_and_come_again(port: int) -> None:
    server = McpServer(HttpSource(f"http://127.0.0.1:{port}/mcp", headers={"Authorization": "Bearer secret"}))
    with pytest.raises(ToolUnavailable, match=f"expected an MCP server at http://127.0.0.1:{port}/mcp, found none"):
        await mcp_tools(server)
    assert "secret" not in repr(server.source)
    with _http_server(port) as process:
        tools = await mcp_tools(server, only=["add", "die", "hang"], prefix="desk_", seconds=20, side_effects=False)
        caller = ToolCaller(Registry(tools))
        assert caller.tools.names == ("desk_add", "desk_die", "desk_hang")
        assert (await caller.call("desk_add", "desk_add(2, 3)")).text == "5"
        hanging = await _with(caller, seconds=1).call("desk_hang", "()")
        assert isinstance(hanging.error, ToolTimeout)
        assert (await caller.call("desk_add", "(3, 3)")).text == "6"
        died = await caller.call("desk_die", "()")
        assert isinstance(died.error, ToolUnavailable)
        process.wait()
    gone = await caller.call("desk_add", "(2, 3)")
    assert isinstance(gone.error, ToolUnavailable)
    assert gone.seconds < 10
    with _http_server(port):
        assert (await caller.call("desk_add", "(2, 3)")).text == "5"
        with pytest.raises(ToolDefinitionError, match="expected tool 'ad', found none; did you mean add"):
            await mcp_tools(server, only=["ad"])
        believed = ToolCaller(Registry(await mcp_tools(server, side_effects=True)))
        assert isinstance((await believed.call("add", "(2, 3)")).error, ToolDenied)
        await caller.aclose()


@pytest.mark.parametrize(
    "command", [("no-such-program-anywhere",), (sys.executable, "-c", "print('no MCP')"), (sys.executable, "-c", "1/0")]
)
async def test_a_command_that_is_no_server_is_an_error(command: tuple[str, ...]) -> None:
    server = McpServer(StdioSource(command))
    with pytest.raises(ToolError, match="MCP server"):
        await mcp_tools(server)
    await server.aclose()


@pytest.mark.parametrize("schema", [{"$ref": "http://127.0.0.1:9/x"}, {"$ref": "#/nowhere"}, {"$ref": "#"}])
async def test_a_schema_that_leads_nowhere_is_an_error(schema: dict[str, Any]) -> None:
    tool = McpTool(
        name="odd",
        description="Odd.",
        schema=schema,
        server=McpServer(HttpSource("http://127.0.0.1:9")),
        remote_name="odd",
    )
    with pytest.raises(ToolFailed, match="expected a schema that can be checked"):
        tool.check({})
