"""Tools as nodes: called with the visit's query, asked for if they have side effects, limited like every visit."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from router import PendingCall, Router, RunResult
from router.errors import BudgetExceeded, RunError
from router.tools.errors import ToolArgumentsError, ToolDefinitionError, ToolDenied, ToolTimeout, ToolUnavailable
from router.trace import Called, Delta, Failed
from tests.router.runtime.graphs import edge, expert, make, says, visited

ROOT = Path(__file__).parents[3]
DESK = "tests.router.runtime.desk_tools"
ECHO = says(r"[\g<0>]", match=".+")
CALCULATOR = {"builtin": "calculator"}
MAIL = {"function": f"{DESK}:send_mail"}
ENDLESS = {"function": f"{DESK}:endless"}


def tool(name: str) -> dict[str, Any]:
    return {"kind": "tool", "tool": name}


def mails(folder: Path) -> list[str]:
    outbox = folder / "outbox"
    return outbox.read_text().split() if outbox.exists() else []


def mail_to(name: str, folder: Path) -> str:
    return f"send_mail({name!r}, {str(folder / 'outbox')!r})"


def desk(folder: Path, *edges: dict[str, Any], **nodes: Any) -> Router:
    workers = {"e": ECHO}
    return make("mail", workers, {"mail": tool("send_mail"), **nodes}, *edges, tools=[MAIL],
                checkpoints=folder / "c.sqlite")  # fmt: skip


def test_a_tool_answers_and_an_expert_goes_on_with_it() -> None:
    with make(
        "t", {"e": ECHO}, {"t": tool("calculator"), "a": expert("e")}, edge("t", "a"), tools=[CALCULATOR]
    ) as graph:
        result = graph.run("calculator((2+3)*4)")
    assert (result.answer, visited(result), result.events[0].generated_tokens) == ("[20]", ["t", "a"], 0)
    called = result.events[0]
    assert isinstance(called, Called)
    assert (called.tool, called.arguments, called.text) == ("calculator", {"expression": "(2+3)*4"}, "20")
    assert called.milliseconds > 0


def test_a_stream_has_the_answer_and_the_event() -> None:
    with make("t", {}, {"t": tool("weekday")}, tools=[CALCULATOR, {"builtin": "dates"}]) as graph:
        items = list(graph.stream("2024-02-29"))
    assert [type(item) for item in items] == [Delta, Called, RunResult]
    assert isinstance(items[0], Delta) and isinstance(items[-1], RunResult)
    assert (items[0].text, items[0].working, items[-1].answer) == ("Thursday", False, "Thursday")


@pytest.mark.parametrize("when", ["error", "fallback"])
def test_a_failure_goes_along_its_edge(when: str) -> None:
    nodes = {"t": tool("calculator"), "a": expert("e")}
    with make("t", {"e": ECHO}, nodes, edge("t", "a", when), tools=[CALCULATOR]) as graph:
        result = graph.run("1/0")
    failed = result.events[0]
    assert isinstance(failed, Failed)
    assert (result.answer, failed.next) == ("[1/0]", ("a",))
    assert "calculator" in failed.error


def test_a_failure_without_an_edge_ends_the_run_and_says_what_to_write() -> None:
    with make("t", {}, {"t": tool("days_between")}, tools=[{"builtin": "dates"}]) as graph:
        with pytest.raises(ToolArgumentsError, match=r"Write days_between\(first, second\)"):
            graph.run("tomorrow")
        assert graph.run("'2024-01-01', '2024-03-01'").answer == "60", "the next run is none the worse"


def test_limits_of_the_tool_and_of_the_run() -> None:
    with make("t", {}, {"t": tool("endless")}, tools=[ENDLESS]) as graph, pytest.raises(ToolTimeout, match=r"0\.5 s"):
        graph.run("endless()")
    source = {**ENDLESS, "seconds": 60}
    with (
        make("t", {}, {"t": tool("endless")}, tools=[source], budget={"seconds": 3}) as graph,
        pytest.raises(BudgetExceeded, match="3 seconds"),
    ):
        graph.run("endless()")


def test_a_tool_takes_no_tokens_of_the_budget_but_a_step() -> None:
    worker = says("calculator(1+1)")
    nodes = {"a": expert("e"), "t": tool("calculator")}
    tools = [CALCULATOR]
    with make("a", {"e": worker}, nodes, edge("a", "t"), tools=tools, budget={"tokens": 16}) as graph:
        result = graph.run("q")
        assert (result.answer, result.usage.generated_tokens) == ("2", 16), "nothing was left for the tool"
    nodes["b"] = tool("calculator")
    edges = [edge("a", "t"), edge("t", "b", "error")]
    with (
        make("a", {"e": says("1/0")}, nodes, *edges, tools=tools, budget={"steps": 2}) as graph,
        pytest.raises(BudgetExceeded, match="2 steps"),
    ):
        graph.run("q")


def test_what_is_not_there_is_said_when_it_is_called() -> None:
    for source, error in (
        ({"function": f"{DESK}:send_male"}, ToolDefinitionError),
        ({"mcp": {"command": ["/nowhere/server"]}}, ToolUnavailable),
        ({"mcp": {"url": "http://127.0.0.1:9/mcp"}}, ToolUnavailable),
    ):
        with make("t", {}, {"t": tool("send_male")}, tools=[source]) as graph, pytest.raises(error):
            graph.run("x")


def test_tools_of_an_mcp_server_and_a_name_that_it_lacks() -> None:
    server = {"command": [sys.executable, str(ROOT / "tests/router/tools/servers/desk.py")], "folder": str(ROOT)}
    nodes = {"add": tool("desk_add"), "sum": tool("desk_sum")}
    edges = [edge("add", "sum", "error", query="{query}")]
    with make("add", {}, nodes, *edges, tools=[CALCULATOR, {"mcp": server, "prefix": "desk_"}]) as graph:
        assert graph.run("desk_add(2, 40)").answer == "42"
        with pytest.raises(ToolDefinitionError, match=r"desk_sum.*did you mean desk_"):
            graph.run("desk_add(2, 400)")


def test_a_side_effect_waits_for_a_yes_and_happens_once(tmp_path: Path) -> None:
    with desk(tmp_path) as graph:
        query = mail_to("ann", tmp_path)
        first = graph.run(query, thread_id="t")
        arguments = {"to": "ann", "outbox": str(tmp_path / "outbox")}
        assert first.pending is not None and isinstance(first.pending, PendingCall)
        assert (first.answer, first.events, first.pending.tool) == ("", (), "send_mail")
        assert dict(first.pending.arguments) == arguments
        assert graph.resume("t").pending == first.pending, "without an answer it waits on"
        assert mails(tmp_path) == []
        done = graph.resume("t", approve=True)
        assert (done.query, done.answer, done.pending) == (query, "sent to ann", None)
        assert graph.resume("t").answer == "sent to ann"
        with pytest.raises(RunError, match="waits for a yes"):
            graph.resume("t", approve=True)
    assert mails(tmp_path) == ["ann"]


def test_a_no_is_a_failure_of_the_tool(tmp_path: Path) -> None:
    with desk(tmp_path) as graph:
        graph.run(mail_to("ann", tmp_path), thread_id="t")
        with pytest.raises(ToolDenied):
            graph.resume("t", approve=False)
    with desk(tmp_path, edge("mail", "a", "error", query="sorry"), a=expert("e")) as graph:
        graph.run(mail_to("ann", tmp_path), thread_id="u")
        assert graph.resume("u", approve=False).answer == "[sorry]"
    assert mails(tmp_path) == []


def test_each_part_of_a_run_that_waited_has_its_own_usage(tmp_path: Path) -> None:
    nodes = {"s": expert("e"), "mail": tool("send_mail"), "a": expert("e")}
    edges = [edge("s", "mail", query=mail_to("ann", tmp_path), cost=2), edge("mail", "a", cost=3)]
    with make("s", {"e": ECHO}, nodes, *edges, tools=[MAIL], checkpoints=tmp_path / "c.sqlite") as graph:
        first = graph.run("q", thread_id="t")
        waiting = graph.resume("t")
        second = graph.resume("t", approve=True)
        again = graph.resume("t")
    assert (visited(first), visited(waiting), visited(second)) == (["s"], ["s"], ["s", "mail", "a"])
    assert [(r.usage.steps, r.usage.cost) for r in (first, waiting, second, again)] == [(1, 2), (0, 0), (2, 3), (3, 5)]
    for usage, parts in ((first.usage, first.events), (second.usage, second.events[1:]), (again.usage, second.events)):
        assert usage.prompt_tokens == sum(event.prompt_tokens for event in parts)
        assert usage.generated_tokens == sum(event.generated_tokens for event in parts)


def test_a_stream_ends_with_the_pending_call(tmp_path: Path) -> None:
    with desk(tmp_path) as graph:
        (result,) = graph.stream(mail_to("ann", tmp_path), thread_id="t")
    assert isinstance(result, RunResult) and result.pending is not None


def test_without_a_thread_the_call_is_refused(tmp_path: Path) -> None:
    with desk(tmp_path) as graph, pytest.raises(RunError, match=r"side effects.*thread_id.*approve=True"):
        graph.run(mail_to("ann", tmp_path))
    assert mails(tmp_path) == []


def test_a_new_question_drops_the_pending_call(tmp_path: Path) -> None:
    with desk(tmp_path) as graph:
        graph.run(mail_to("ann", tmp_path), thread_id="t")
        graph.run(mail_to("bob", tmp_path), thread_id="t")
        assert graph.resume("t", approve=True).answer == "sent to bob"
    assert mails(tmp_path) == ["bob"]


def test_each_call_of_a_run_is_asked_for(tmp_path: Path) -> None:
    """Branches side by side ask the same tool and another node of it; a yes is good for one call."""
    nodes = {
        "s": expert("w"),
        "one": tool("send_mail"),
        "two": tool("send_mail"),
        "j": {"kind": "join", "method": "concat"},
    }
    edges = [edge("s", name, query=mail_to(name, tmp_path)) for name in ("one", "two")]
    edges += [edge("one", "j"), edge("two", "j")]
    with make("s", {"w": says("go")}, nodes, *edges, tools=[MAIL], checkpoints=tmp_path / "c.sqlite") as graph:
        result, asked = graph.run("q", thread_id="t"), []
        while result.pending is not None:
            asked.append(result.pending.arguments["to"])
            assert sorted(mails(tmp_path)) == sorted(asked[:-1])
            result = graph.resume("t", approve=True)
    assert result.answer == "sent to one\n\nsent to two"
    assert sorted(asked) == sorted(mails(tmp_path)) == ["one", "two"]


def test_one_node_asked_by_several_branches_at_once(tmp_path: Path) -> None:
    nodes = {"s": expert("w"), "a": expert("w"), "b": expert("w"), "mail": tool("send_mail"),
             "j": {"kind": "join", "method": "concat"}}  # fmt: skip
    edges = [edge("s", "a"), edge("s", "b"), edge("mail", "j")]
    edges += [edge(name, "mail", query=mail_to(name, tmp_path)) for name in "ab"]
    with make("s", {"w": says("go")}, nodes, *edges, tools=[MAIL], checkpoints=tmp_path / "c.sqlite") as graph:
        result = graph.run("q", thread_id="t")
        for done in ([], ["a"]):
            assert result.pending is not None
            assert mails(tmp_path) == done
            result = graph.resume("t", approve=True)
    assert (result.answer, mails(tmp_path)) == ("sent to a\n\nsent to b", ["a", "b"])
    assert visited(result) == ["s", "a", "b", "mail", "mail", "j"]


def test_the_same_call_in_a_cycle_is_asked_for_again(tmp_path: Path) -> None:
    nodes = {"mail": tool("send_mail"), "a": expert("e")}
    edges = [edge("mail", "a"), edge("a", "mail", "low_confidence", below=0.9, query=mail_to("ann", tmp_path))]
    with make("mail", {"e": says("again", logprob=-3.0)}, nodes, *edges, tools=[MAIL], budget={"steps": 4},
              checkpoints=tmp_path / "c.sqlite") as graph:  # fmt: skip
        graph.run(mail_to("ann", tmp_path), thread_id="t")
        again = graph.resume("t", approve=True)
    assert again.pending is not None
    assert mails(tmp_path) == ["ann"]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_end_with_the_router_or_with_the_event_loop() -> None:
    source = {"function": "tests.router.tools.functions:process_id"}
    with make("t", {}, {"t": tool("process_id")}, tools=[source]) as graph:
        here = int(graph.run("process_id()").answer)
        assert int(graph.run("process_id()").answer) == here, "one process for all calls of an event loop"
        other = int(asyncio.run(graph.arun("process_id()")).answer)
        assert alive(here) and not alive(other)
    assert not alive(here)


def test_a_users_own_graph_asks_with_its_own_checkpoints(tmp_path: Path) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("tokengraph", desk(tmp_path).runnable)
    builder.add_edge(START, "tokengraph")
    outer = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    stopped = outer.invoke({"messages": [("user", mail_to("ann", tmp_path))]}, config)
    assert stopped["__interrupt__"][0].value["arguments"]["to"] == "ann"
    assert mails(tmp_path) == []
    assert outer.invoke(Command(resume=True), config)["messages"][-1].text == "sent to ann"
    assert mails(tmp_path) == ["ann"]


PROGRAM = """
import sys
from pathlib import Path
from tests.router.runtime.test_tools import desk, mail_to

folder, how = Path(sys.argv[1]), sys.argv[2]
with desk(folder) as graph:
    if how == "run":
        result = graph.run(mail_to("ann", folder), thread_id="t")
    else:
        result = graph.resume("t", approve={"yes": True, "go on": None}[how])
    print("pending" if result.pending else result.answer, flush=True)
"""


def process(folder: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), how], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip


def said(folder: Path, how: str) -> str:
    return process(folder, how).communicate(timeout=120)[0].strip()


def test_a_call_outlives_its_process_and_a_killed_one_is_asked_for_again(tmp_path: Path) -> None:
    assert said(tmp_path, "run") == "pending"
    (tmp_path / "closed").touch()
    calling = process(tmp_path, "yes")
    try:
        deadline = time.monotonic() + 120
        while not mails(tmp_path):
            assert calling.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        calling.send_signal(signal.SIGKILL)
        calling.communicate()
    (tmp_path / "closed").unlink()
    assert said(tmp_path, "go on") == "pending", "whether the mail went out nobody knows: the user decides"
    assert mails(tmp_path) == ["ann"]
    assert said(tmp_path, "yes") == "sent to ann"
    assert said(tmp_path, "go on") == "sent to ann"
    assert mails(tmp_path) == ["ann", "ann"], "once for each yes"
