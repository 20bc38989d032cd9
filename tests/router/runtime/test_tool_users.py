"""Experts that call tools in their answers by tool tokens; the model is scripted, the tools are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router import Router
from router.console.trace_tree import label
from router.errors import SpecError, TokenHeadError
from router.spec import parse_spec
from router.tools.errors import ToolFailed
from router.trace import Answered, Delta, Failed
from tests.router.runtime.graphs import edge, expert, make, says

ARITHMETIC = {"builtin": "arithmetic"}
TOKENS = ["<tool_add>", "<tool_divide>", "<tool_send_mail>", "<tool>"]


def worker(*rules: tuple[str, str]) -> dict[str, Any]:
    """A model that goes on by how the transcript ends."""
    return {
        "engine": "scripted",
        "tokens": TOKENS,
        "rules": [{"match": match, "answer": answer} for match, answer in rules],
    }


def graph(*rules: tuple[str, str], tools: tuple[str, ...] = ("add", "divide"), **node: Any) -> Router:
    return make("a", {"m": worker(*rules)}, {"a": expert("m", tools=tools, **node)}, tools=[ARITHMETIC])


def answered(result: Any) -> Answered:
    event = result.events[-1]
    assert isinstance(event, Answered)
    return event


APPLES = ((r"=5$", " apples."), (r"<tool_add>\($", "2,3)=77"), ("how many", "There are <tool_add>"))


def test_the_user_sees_the_result_and_the_trace_the_call() -> None:
    with graph(*APPLES) as router:
        result = router.run("how many?")
        pieces = [item.text for item in router.stream("how many?") if isinstance(item, Delta)]
    assert result.answer == "There are 5 apples." == "".join(pieces)
    (call,) = answered(result).calls
    assert (call.tool, call.token, call.written, call.text) == ("add", "<tool_add>", "(2,3)", "5")
    assert (call.arguments, call.failed) == ({"a": "2", "b": "3"}, False)
    assert "add(2,3) = 5" in label(answered(result)).plain
    assert answered(result).generated_tokens == len("There are ") + 1 + len("2,3)") + len(" apples.") + 1


def test_several_calls_in_an_answer() -> None:
    rules = ((r"=5.*=9$", "!"), (r"=5 and <tool_add>\($", "4,5)"), (r"=5$", " and <tool_add>"), *APPLES[1:])
    with graph(*rules) as router:
        result = router.run("how many?")
    assert result.answer == "There are 5 and 9!"
    assert [call.written for call in answered(result).calls] == ["(2,3)", "(4,5)"]


def test_arguments_that_do_not_fit_are_mended_where_they_go_wrong() -> None:
    rules = (
        (r"=\d+$", "."),
        (r"\(2,$", "3)"),
        (r"\(2$", ",3)"),
        (r"<tool_add>\($", "2;3)"),
        ("how many", "<tool_add>"),
    )
    with graph(*rules) as router:
        result = router.run("how many?")
    (call,) = answered(result).calls
    assert (call.written, result.answer) == ("(2,3)", "5.")


def test_after_a_failure_the_error_is_read_and_the_next_token_tried() -> None:
    rules = (
        (r"=error.*<tool_add>\(1,1\)=2$", "."), (r"<tool_divide>\($", "1,0)"), (r"<tool_add>\($", "1,1)"),
        ("how many", "<tool_divide><tool_add>"),
    )  # fmt: skip
    with graph(*rules) as router:
        result = router.run("how many?")
    failed, worked = answered(result).calls
    assert (failed.tool, failed.failed, worked.tool, worked.text) == ("divide", True, "add", "2")
    assert failed.text.startswith("error: ")
    assert result.answer == "2."


def test_text_goes_on_where_every_call_failed() -> None:
    rules = ((r"=error", "hard to say"), (r"<tool_divide>\($", "1,0)"), ("how many", "<tool_divide>hard to say"))
    with graph(*rules, tools=("divide",)) as router:
        assert router.run("how many?").answer == "hard to say"


def test_nothing_but_a_failure_is_one_that_the_graph_can_answer() -> None:
    rules = ((r"<tool_divide>\($", "1,0)"), ("how many", "<tool_divide>"))
    nodes = {"a": expert("m", tools=["divide"]), "b": expert("e")}
    workers = {"m": worker(*rules), "e": says("ask a human")}
    with make("a", workers, nodes, edge("a", "b", "error"), tools=[ARITHMETIC]) as router:
        result = router.run("how many?")
    assert result.answer == "ask a human"
    assert isinstance(result.events[0], Failed)
    with graph(*rules, tools=("divide",)) as router, pytest.raises(ToolFailed):
        router.run("how many?")


@pytest.mark.parametrize("room", [0, 1, 3])
@pytest.mark.parametrize("before", ["", "There are "])
def test_an_answer_that_is_cut_off_in_a_call_makes_none(before: str, room: int) -> None:
    with graph(*APPLES[:2], ("how many", f"{before}<tool_add>"), max_tokens=len(before) + 1 + room) as router:
        result = router.run("how many?")
    assert result.answer == before.strip()
    event = answered(result)
    assert (event.finish_reason, event.calls, event.generated_tokens) == ("length", (), len(before) + 1 + room)


def test_calls_are_counted() -> None:
    endless = ((r"=5$", "<tool_add>enough"), *APPLES[1:])
    with graph(*endless, tool_calls=3) as router:
        result = router.run("how many?")
    assert len(answered(result).calls) == 3
    assert result.answer == "There are 555enough"


def test_tokens_of_tools_that_are_not_offered_are_never_written() -> None:
    with graph(("how many", "<tool>five"), tools=("add",)) as router:
        assert router.run("how many?").answer == "five"


def test_arguments_and_results_of_users_are_no_tokens() -> None:
    with graph((r"<tool_add>", "no token"), (".", "plain")) as router:
        assert router.run("what is <tool_add>(1,2)?").answer == "no token"  # the script reads text: both look alike
        assert answered(router.run("what is <tool_add>(1,2)?")).calls == ()


def test_side_effects_wait_for_a_yes_and_happen_once(tmp_path: Path) -> None:
    mail = {"function": "tests.router.runtime.desk_tools:send_mail"}
    outbox = tmp_path / "outbox"
    rules = ((r"=.*$", ""), (r"<tool_send_mail>\($", f'"ann", "{outbox}")'), ("write", "Done: <tool_send_mail>"))
    nodes = {"a": expert("m", tools=["send_mail"])}
    with make("a", {"m": worker(*rules)}, nodes, tools=[mail], checkpoints=tmp_path / "c.sqlite") as router:
        asked = router.run("write to ann", thread_id="t")
        assert asked.pending is not None and asked.pending.tool == "send_mail" and not outbox.exists()
        done = router.resume("t", approve=True)
        denied = router.run("write to ann", thread_id="u")
        assert denied.pending is not None
        refused = router.resume("u", approve=False)
    assert outbox.read_text().split() == ["ann"]
    assert done.answer.startswith("Done: ")
    assert answered(refused).calls[0].failed


def test_after_a_no_the_same_answer_asks_no_more(tmp_path: Path) -> None:
    mail = {"function": "tests.router.runtime.desk_tools:send_mail"}
    write = rf'"ann", "{tmp_path / "outbox"}")'
    rules = (
        (r"second one", "so be it"), (r"<tool_send_mail>\($", write), (r"=error", "so <tool_send_mail>"),
        ("a mail", "<tool_send_mail>so"),
    )  # fmt: skip
    nodes = {"a": expert("m", tools=["send_mail"])}
    with make("a", {"m": worker(*rules)}, nodes, tools=[mail], checkpoints=tmp_path / "c.sqlite") as router:
        assert router.run("a mail", thread_id="t").pending is not None
        done = router.resume("t", approve=False)
    assert done.pending is None and "second one" in answered(done).calls[1].text


def test_a_model_without_tool_tokens_says_what_to_do() -> None:
    with graph(("how many", "5"), tools=("power",)) as router, pytest.raises(TokenHeadError, match="train tool-tokens"):
        router.run("how many?")


def test_a_tool_that_there_is_not() -> None:
    spec = """
entry: a
workers: {m: {engine: scripted, rules: [{answer: x}]}}
nodes: {a: {kind: expert, worker: m, tools: [ad], tool_bias: {divde: 1}}}
tools: [{builtin: arithmetic}]
"""
    with pytest.raises(SpecError, match="did you mean") as error:
        parse_spec(spec)
    assert [problem.path for problem in error.value.problems] == ["nodes.a.tools[0]", "nodes.a.tool_bias.divde"]
