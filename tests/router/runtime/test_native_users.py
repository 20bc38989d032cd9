"""Experts that call tools natively; the model is scripted, the tools are real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from router import Router
from router.console.trace_tree import label
from router.errors import GraphError, RequestError, SpecError
from router.runtime.options import RunOptions
from router.runtime.query import Prompt
from router.spec import parse_spec
from router.tools.errors import ToolDenied, ToolFailed
from router.trace import Answered, Delta, Failed
from router.types import NodeId
from tests.router.runtime.graphs import edge, expert, make, says

ARITHMETIC = {"builtin": "arithmetic"}
Rules = tuple[dict[str, Any], ...]


def call(name: str, **arguments: Any) -> str:
    written = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{written}\n</tool_call>"


def rule(answer: str, after: str | None = None, match: str = ".*") -> dict[str, Any]:
    return {"match": match, "answer": answer.replace("\\n", "\\\\n"), **({} if after is None else {"after": after})}


def worker(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"engine": "scripted", "rules": rules, "tokens": ["<node_0>", "<end>"]}


def graph(*rules: dict[str, Any], tools: tuple[str, ...] = ("add", "divide"), **node: Any) -> Router:
    nodes = {"a": expert("m", tools=tools, tool_format="native", **node)}
    return make("a", {"m": worker(*rules)}, nodes, tools=[ARITHMETIC])


def answered(result: Any) -> Answered:
    event = result.events[-1]
    assert isinstance(event, Answered)
    return event


ASKS = call("add", a=2, b=3)


def test_the_user_sees_the_text_and_the_trace_the_call() -> None:
    with graph(rule(r"There are \g<0> apples.", after=r"\d+"), rule(f"Let me see.{ASKS}")) as router:
        result = router.run("how many?", options=RunOptions(logprobs=0))
        pieces = [item.text for item in router.stream("how many?") if isinstance(item, Delta)]
    assert result.answer == "Let me see.\n\nThere are 5 apples." == "".join(pieces)
    event = answered(result)
    (made,) = event.calls
    assert (made.tool, made.token, made.text, made.failed) == ("add", "", "5", False)
    assert (json.loads(made.written), made.arguments) == ({"a": 2, "b": 3}, {"a": "2", "b": "3"})
    assert "".join(token.token for token in event.logprobs) == result.answer
    assert event.generated_tokens == len(f"Let me see.{ASKS}") + 1 + len("There are 5 apples.") + 1
    assert "add" in label(event).plain and "= 5" in label(event).plain


def test_a_call_without_tags_and_several_at_once() -> None:
    both = json.dumps([{"name": "add", "parameters": {"a": 2, "b": 3}}, {"name": "add", "arguments": {"a": 4, "b": 5}}])
    with graph(rule(r"\1 and \2", after=r"(5)\n(9)"), rule(both)) as router:
        result = router.run("how many?")
        pieces = [item.text for item in router.stream("how many?") if isinstance(item, Delta)]
    assert result.answer == "5 and 9" == "".join(pieces)
    assert [made.text for made in answered(result).calls] == ["5", "9"]


@pytest.mark.parametrize(
    ("written", "error"),
    [
        (call("divide", a=1, b=0), "other than 0"),
        (call("add", a="two", b=3), "a: "),
        (call("add", a=1), "b: "),
        (call("ad", a=1, b=2), "did you mean add"),
        ("<tool_call>add(1, 2)</tool_call>", "expected a call as JSON"),
        ('<tool_call>{"name": "add", "arguments": [1, 2]}</tool_call>', "expected a call of the form"),
    ],
)
def test_the_model_reads_what_went_wrong(written: str, error: str) -> None:
    mends = rule(call("add", a=1, b=1), after="^error: .*" + error)
    with graph(rule("two", after="^2$"), mends, rule(written)) as router:
        result = router.run("how many?")
    failed, worked = answered(result).calls
    assert failed.failed and error in failed.text and worked.text == "2"
    assert result.answer == "two"


def test_calls_are_counted_and_then_there_are_none() -> None:
    with graph(rule("enough" + ASKS), tool_calls=3) as router:
        result = router.run("how many?")
    assert len(answered(result).calls) == 3
    assert result.answer == "enough\n\n" * 3 + "enough"
    with graph(rule(ASKS), tool_calls=2) as router, pytest.raises(ToolDenied, match="at most 2 calls"):
        router.run("how many?")
    with graph(rule("done", after="at most 1"), rule(ASKS + ASKS), tool_calls=1) as router:
        assert [made.failed for made in answered(router.run("how many?")).calls] == [False, True]


def test_tokens_are_counted_over_all_turns() -> None:
    with graph(rule("five it is", after="5"), rule(ASKS), max_tokens=len(ASKS) + 5) as router:
        result = router.run("how many?")
    assert (result.answer, answered(result).finish_reason) == ("five", "length")
    with graph(rule("five it is", after="5"), rule(f"so {ASKS}"), max_tokens=len(ASKS)) as router:
        result = router.run("how many?")
    assert (result.answer, answered(result).finish_reason, answered(result).calls) == ("so", "length", ())


def test_nothing_but_a_failure_is_one_that_the_graph_can_answer() -> None:
    rules = (rule("", after="error"), rule(call("divide", a=1, b=0)))
    nodes = {"a": expert("m", tools=["divide"], tool_format="native"), "b": expert("e")}
    workers = {"m": worker(*rules), "e": says("ask a human")}
    with make("a", workers, nodes, edge("a", "b", "error"), tools=[ARITHMETIC]) as router:
        result = router.run("how many?")
    assert result.answer == "ask a human"
    assert isinstance(result.events[0], Failed)
    with graph(*rules) as router, pytest.raises(ToolFailed):
        router.run("how many?")


def test_it_may_hand_the_query_on_after_a_call() -> None:
    nodes = {"a": expert("m", tools=["add"], tool_format="native"), "b": expert("e")}
    hands_on = "<node_0>('sum 5')<end>"
    rules = (rule(hands_on, match="tool: 5"), rule(hands_on, after="5"), rule(ASKS))
    workers = {"m": worker(*rules), "e": says(r"[\g<0>]", match=".+")}
    with make("a", workers, nodes, edge("a", "b", "token"), tools=[ARITHMETIC]) as router:
        result = router.run("how many?")
    assert result.answer == "[sum 5]"
    first = result.events[0]
    assert isinstance(first, Answered) and [made.text for made in first.calls] == ["5"]


def test_a_bare_prompt_calls_nothing_and_tools_of_the_caller_are_refused() -> None:
    nodes = {"a": expert("m", tools=["add"], tool_format="native"), "b": expert("m")}
    with make("a", {"m": worker(rule(ASKS))}, nodes, edge("a", "b"), tools=[ARITHMETIC]) as router:
        import asyncio

        bare = asyncio.run(router.arun(Prompt("how many"), node=NodeId("a")))
        assert bare.answer == ASKS
        theirs = RunOptions(tools=({"type": "function", "function": {"name": "f"}},))
        with pytest.raises(RequestError, match="tools of its own"):
            asyncio.run(router.arun("how many?", node=NodeId("a"), options=theirs))


def test_side_effects_wait_for_a_yes_and_happen_once(tmp_path: Path) -> None:
    mail = {"function": "tests.router.runtime.desk_tools:send_mail"}
    outbox = tmp_path / "outbox"
    writes = call("send_mail", to="ann", outbox=str(outbox))
    rules = (
        rule(r"\g<0>, once", after="sent to ann\nerror: .*second one"), rule("not sent", after="error: .*found a no"),
        rule(writes + writes),
    )  # fmt: skip
    nodes = {"a": expert("m", tools=["send_mail"], tool_format="native")}
    with make("a", {"m": worker(*rules)}, nodes, tools=[mail], checkpoints=tmp_path / "c.sqlite") as router:
        asked = router.run("write to ann", thread_id="t")
        assert asked.pending is not None and asked.pending.tool == "send_mail" and not outbox.exists()
        done = router.resume("t", approve=True)
        assert outbox.read_text().split() == ["ann"]
        assert done.answer.startswith("sent to ann") and done.answer.endswith("once")
        assert router.run("write to ann", thread_id="u").pending is not None
        refused = router.resume("u", approve=False)
    assert refused.answer == "not sent" and all(made.failed for made in answered(refused).calls)
    assert outbox.read_text().split() == ["ann"]


SPEC = """
entry: a
workers:
  m: {{engine: {engine}}}
nodes:
  a: {{kind: expert, worker: m, {node}}}
tools: [{{builtin: arithmetic}}]
"""


@pytest.mark.parametrize(
    ("engine", "node", "path", "says_so"),
    [
        ("scripted, rules: [{answer: x}]", "tool_format: native", "tool_format", "with tools"),
        ("scripted, rules: [{answer: x}]", "tool_format: json, tools: [add]", "tool_format", "native, tokens"),
        (
            "scripted, rules: [{answer: x}]", "tool_format: native, tools: [add], tool_tokens: ./x", "tool_tokens",
            "only with tool tokens",
        ),
        ("scripted, rules: [{answer: x}]", "tool_format: native, tools: [add], tool_bias: 2", "tool_bias", "only with"),
        ("recorded, file: answers.jsonl", "tool_format: native, tools: [add]", "tool_format", "recorded answers of m"),
        ('local, model: "pocket:capitals"', "tool_format: native, tools: [add]", "tool_format", "tells the model of tools"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_its_place(
    engine: str, node: str, path: str, says_so: str, tmp_path: Path
) -> None:
    (tmp_path / "answers.jsonl").write_text("")
    with pytest.raises(SpecError) as error:
        parse_spec(SPEC.format(engine=engine, node=node), str(tmp_path / "graph.yaml"))
    (problem,) = error.value.problems
    assert problem.path == f"nodes.a.{path}" and says_so in str(problem)
    assert problem.where.line == 6


def test_a_model_that_is_told_of_no_tools_is_no_silent_one(tmp_path: Path) -> None:
    spec = parse_spec(SPEC.format(engine="scripted, rules: [{answer: x}]", node="tools: [add], tool_format: native"))
    silent = spec.model_copy(update={"workers": {"m": {"engine": "local", "model": "pocket:capitals"}}})
    from router import GraphSpec

    router = Router(GraphSpec.model_validate(silent.model_dump(by_alias=True)))
    with router, pytest.raises(GraphError, match="chat template"):
        router.run("capital of france")
