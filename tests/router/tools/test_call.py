"""Calls run in time, or end in text that says why not; nothing that a tool does harms the next call."""

from __future__ import annotations

from typing import Any

import pytest

from router.tools.ask import PendingCall
from router.tools.call import ToolCaller, ToolResult
from router.tools.errors import (
    ToolArgumentsError,
    ToolDenied,
    ToolFailed,
    UnknownTool,
)
from router.tools.function import FunctionTool
from router.tools.processes import ToolProcesses
from router.tools.registry import Registry
from tests.router.tools import functions

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOLS = Registry(
    found.configured({"file": "notes.txt"}) if found.name == "note" else found
    for found in vars(functions).values()
    if isinstance(found, FunctionTool)
)


async def _call(processes: ToolProcesses, name: str, text: str = "()", **more: Any) -> ToolResult:
    return await ToolCaller(TOOLS, processes=processes, **more).call(name, text)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("multiply", "multiply(0.1, 3)", "0.3"),
        ("multiply", '{"a": "12345678901234567890"}', "24691357802469135780"),
        ("multiply", "(0.1234567890123456789)", "0.2469135780246913578"),
        ("multiply", '{"a": 1.00000000000000000001}', "2.00000000000000000002"),
        ("note", "note('hi')", "notes.txt: hi"),
        ("tomorrow", "('2024-02-28')", "2024-02-29"),
        ("endless", "endless(1)", "error: endless: expected at most 0 arguments, found '1' (character 1). Write endless()"),
        ("raises", "raises('x')", "error: raises: KeyError: 'x'"),
        ("tomorrow", "('9999-12-31')", "error: tomorrow: ValueError: year 10000 is out of range"),
    ],
)  # fmt: skip
async def test_a_call_gives_text(processes: ToolProcesses, name: str, text: str, expected: str) -> None:
    assert (await _call(processes, name, text)).text == expected


async def test_arguments_may_come_by_name(processes: ToolProcesses) -> None:
    caller = ToolCaller(TOOLS, processes=processes)
    result = await caller.call("multiply", {"a": 3, "b": "4"})
    assert (result.text, result.arguments, result.error, result.cut) == ("12", {"a": "3", "b": "4"}, None, False)
    assert isinstance((await caller.call("multiply", {"c": 3})).error, ToolArgumentsError)


async def test_an_unknown_tool_is_an_error_that_names_the_known_one(processes: ToolProcesses) -> None:
    result = await _call(processes, "multiplly")
    assert isinstance(result.error, UnknownTool)
    assert result.text.endswith("did you mean multiply?")


async def test_an_error_is_raised_if_asked_for_and_keeps_the_functions_traceback(processes: ToolProcesses) -> None:
    with pytest.raises(ToolFailed, match="raises: KeyError") as failure:
        await ToolCaller(TOOLS, processes=processes).call("raises", "('x')", raises=True)
    assert "functions.py" in failure.value.__notes__[0]


@pytest.mark.parametrize("answer", [True, False])
async def test_a_tool_with_side_effects_asks_first(processes: ToolProcesses, answer: bool) -> None:
    asked = []

    async def consent(call: PendingCall) -> bool:
        asked.append(call)
        return answer

    result = await _call(processes, "where", "('ann', {'town': 'Rome'})", consent=consent)
    arguments = {"who": "ann", "to": {"town": "Rome", "floor": 0}}
    assert asked == [PendingCall("where", "Moves somebody.", arguments)]
    if answer:
        assert result.text == '{"town":"ROME","floor":0}'
    else:
        assert isinstance(result.error, ToolDenied)


async def test_nobody_is_asked_about_arguments_that_do_not_fit(processes: ToolProcesses) -> None:
    async def consent(call: PendingCall) -> bool:
        raise AssertionError(call)

    result = await _call(processes, "where", "(1)", consent=consent)
    assert isinstance(result.error, ToolArgumentsError)


async def test_without_anybody_to_ask_a_tool_with_side_effects_is_denied(processes: ToolProcesses) -> None:
    assert isinstance((await _call(processes, "where", "('ann', {'town': 'Rome'})")).error, ToolDenied)


async def test_asking_may_interrupt_the_run(processes: ToolProcesses) -> None:
    class Interrupted(Exception):
        pass

    async def consent(call: PendingCall) -> bool:
        raise Interrupted

    with pytest.raises(Interrupted):
        await _call(processes, "where", "('ann', {'town': 'Rome'})", consent=consent)


async def test_a_langgraph_interrupt_asks_and_the_call_runs_once_on_resume(processes: ToolProcesses) -> None:
    from dataclasses import asdict

    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Command, interrupt

    async def consent(call: PendingCall) -> bool:
        return bool(interrupt(asdict(call)))

    async def node(state: dict[str, str]) -> dict[str, str]:
        result = await _call(processes, "where", state["text"], consent=consent)
        return {"text": result.text}

    graph = StateGraph(dict)
    graph.add_node("tool", node)
    graph.add_edge(START, "tool")
    graph.add_edge("tool", END)
    app = graph.compile(checkpointer=InMemorySaver())
    for answer, expected in ((True, '{"town":"ROME","floor":0}'), (False, "error: where: expected a yes")):
        config = {"configurable": {"thread_id": str(answer)}}
        paused = await app.ainvoke({"text": "('ann', {'town': 'Rome'})"}, config)
        assert paused["__interrupt__"][0].value["tool"] == "where"
        assert (await app.ainvoke(Command(resume=answer), config))["text"].startswith(expected)
