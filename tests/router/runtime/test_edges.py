"""Which way a run goes, and with which words."""

from __future__ import annotations

import pytest

from router.errors import EngineError, EngineUnavailable, GraphError, RunError
from router.trace import Answered, Failed, Joined
from tests.router.runtime.graphs import edge, expert, make, rules, says, visited

ECHO = says(r"[\g<0>]", match=".+")


def test_an_expert_alone() -> None:
    result = make("a", {"w": ECHO}, {"a": expert("w")}).run("hello")
    assert (result.answer, result.query, visited(result)) == ("[hello]", "hello", ["a"])
    assert (result.usage.steps, result.usage.cost, result.thread_id) == (1, 0, None)


def test_sequential_hops_carry_the_answer() -> None:
    graph = make("a", {"w": ECHO}, {n: expert("w") for n in "abc"}, edge("a", "b", cost=0.5), edge("b", "c", cost=1))
    result = graph.run("x")
    assert (result.answer, visited(result), result.usage.cost) == ("[[[x]]]", ["a", "b", "c"], 1.5)


def test_a_query_template_is_filled_in_one_pass() -> None:
    text = "{original}|{query}|{answer}|{ other }"
    graph = make("a", {"w": ECHO}, {n: expert("w") for n in "abc"}, edge("a", "b"), edge("b", "c", query=text))
    assert graph.run("{answer}").answer == "[{answer}|[{answer}]|[[{answer}]]|{ other }]"


@pytest.mark.parametrize(("logprob", "route"), [(-3.0, ["a", "big"]), (-0.01, ["a", "next"])])
def test_low_confidence_goes_instead_of_always(logprob: float, route: list[str]) -> None:
    graph = make(
        "a", {"w": says("hm", logprob=logprob), "e": ECHO}, {"a": expert("w"), "big": expert("e"), "next": expert("e")},
        edge("a", "big", "low_confidence", below=0.5), edge("a", "next"),
    )  # fmt: skip
    result = graph.run("q")
    assert visited(result) == route
    assert result.answer == ("[q]" if route[1] == "big" else "[hm]"), "the larger model gets the question again"


def test_an_error_edge_goes_before_a_fallback_edge() -> None:
    nodes = {"a": expert("bad"), "b": expert("bad"), "c": expert("e")}
    graph = make(
        "a", {"bad": says("", error="worker is dead"), "e": ECHO}, nodes,
        edge("a", "b", "error"), edge("a", "c", "fallback"), edge("b", "c", "fallback"),
    )  # fmt: skip
    result = graph.run("q")
    assert (result.answer, visited(result)) == ("[q]", ["a", "b", "c"])
    failures = [event for event in result.events if isinstance(event, Failed)]
    assert [(f.error, f.next) for f in failures] == [("worker is dead", ("b",)), ("worker is dead", ("c",))]


def test_a_failure_without_a_way_on_raises_with_the_trace_so_far() -> None:
    graph = make(
        "a", {"e": ECHO, "bad": says("", error="dead")}, {"a": expert("e"), "b": expert("bad")}, edge("a", "b")
    )
    with pytest.raises(EngineUnavailable, match="dead") as caught:
        graph.run("q")
    first, last = caught.value.events
    assert isinstance(first, Answered)
    assert isinstance(last, Failed)
    assert (first.answer, last.node, last.query, last.error) == ("[q]", "b", "[q]", "dead")


def test_a_cycle_ends_when_the_answer_is_sure() -> None:
    drafts = {
        "engine": "scripted",
        "rules": [{"match": "xxx", "answer": "done"}, {"match": ".*", "answer": r"x\g<0>", "logprob": -2}],
    }
    graph = make(
        "a", {"w": drafts}, {"a": expert("w")},
        edge("a", "a", "low_confidence", below=0.5, query="{answer}"), budget={"steps": 10},
    )  # fmt: skip
    result = graph.run("q")
    assert (result.answer, visited(result)) == ("done", ["a"] * 4)


def test_answer_after_splits_working_from_answer() -> None:
    nodes = {"a": expert("w", answer_after="####")}
    event = make("a", {"w": says("1 #### 2 #### 3 ")}, nodes).run("q").events[0]
    assert isinstance(event, Answered)
    assert (event.working, event.answer) == ("1 #### 2 ####", "3")


def fan(method: str, answers: list[tuple[str, float]], **join: object) -> object:
    """One node asks several, a join makes one answer of theirs."""
    workers = {"s": says("go")} | {f"w{i}": says(text, logprob=p) for i, (text, p) in enumerate(answers)}
    names = [f"n{i}" for i in range(len(answers))]
    nodes = {"s": expert("s"), "j": {"kind": "join", "method": method, **join}}
    nodes |= {name: expert(f"w{i}") for i, name in enumerate(names)}
    edges = [edge("s", name) for name in names] + [edge(name, "j") for name in names]
    return make("s", workers, nodes, *edges).run("q")


@pytest.mark.parametrize(
    ("method", "answer"), [("vote", "Paris"), ("best", "Rome"), ("concat", "paris; Paris;Rome".replace("; ", ";"))]
)
def test_joins(method: str, answer: str) -> None:
    result = fan(method, [("paris", -2), ("Paris", -1), ("Rome", -0.1)], separator=";")
    assert result.answer == answer  # type: ignore[attr-defined]
    event = result.events[-1]  # type: ignore[attr-defined]
    assert isinstance(event, Joined)
    assert (event.sources, event.query) == (("n0", "n1", "n2"), "q")


def test_more_than_ten_branches_keep_their_order() -> None:
    result = fan("concat", [(str(i), 0) for i in range(12)], separator=" ")
    assert result.answer == "0 1 2 3 4 5 6 7 8 9 10 11"  # type: ignore[attr-defined]


def test_a_join_waits_for_the_longest_branch() -> None:
    nodes = {n: expert("e") for n in "sabcd"} | {"j": {"kind": "join", "method": "concat", "separator": "|"}}
    graph = make(
        "s", {"e": ECHO}, nodes,
        edge("s", "a"), edge("s", "b"), edge("b", "c"), edge("c", "d"), edge("d", "j"), edge("a", "j"),
    )  # fmt: skip
    result = graph.run("q")
    assert result.answer == "[[q]]|[[[[q]]]]"
    assert visited(result).count("j") == 1


def test_a_join_waits_for_a_join_that_leads_to_it() -> None:
    nodes = {n: expert("e") for n in "sabce"} | {j: {"kind": "join", "method": "concat"} for j in ("outer", "inner")}
    graph = make(
        "s", {"e": ECHO}, nodes,
        edge("s", "a"), edge("s", "b"), edge("s", "c"), edge("a", "inner"), edge("b", "inner"), edge("inner", "e"),
        edge("e", "outer"), edge("c", "outer"),
    )  # fmt: skip
    result = graph.run("q")
    assert [n for n in visited(result) if n in ("inner", "outer")] == ["inner", "outer"]
    event = result.events[-1]
    assert isinstance(event, Joined)
    assert set(event.sources) == {"e", "c"}
    assert result.usage.steps == len(result.events) == 7


def test_an_answer_waits_for_a_join() -> None:
    """One branch ends at once, the other goes on through a join: one answer, said once."""
    nodes = {"s": expert("hm"), "a": expert("hm"), "b": expert("e"), "j": {"kind": "join"}, "z": expert("e")}
    graph = make(
        "s", {"hm": says("hm", logprob=-3), "e": ECHO}, nodes,
        edge("s", "a"), edge("s", "b"), edge("a", "j", "error"), edge("b", "j"), edge("j", "z"),
    )  # fmt: skip
    output = graph.runnable.invoke({"messages": [("user", "q")]})
    assert output["answer"] == "hm\n\n[[hm]]"
    assert [m.type for m in output["messages"]] == ["human", "ai"]


def test_a_join_does_without_a_branch_that_failed() -> None:
    nodes = {"s": expert("e"), "a": expert("bad"), "b": expert("e"), "j": {"kind": "join", "method": "concat"}}
    edges = [edge("s", "a"), edge("s", "b"), edge("a", "j", "error"), edge("b", "j")]
    workers = {"e": ECHO, "bad": says("", error="dead")}
    assert make("s", workers, nodes, *edges).run("q").answer == "[[q]]"
    all_bad = {**nodes, "b": expert("bad")}
    with pytest.raises(EngineError, match="at least one answer at the join j"):
        make("s", workers, all_bad, *edges, edge("b", "j", "error")).run("q")
    rescued = make(
        "s", workers, {**all_bad, "z": expert("e")}, *edges, edge("b", "j", "error"), edge("j", "z", "error")
    )
    assert rescued.run("q").answer == "[q]"


def test_two_branches_that_ask_one_node() -> None:
    nodes = {n: expert("e") for n in "sabc"} | {"j": {"kind": "join", "method": "concat", "separator": "|"}}
    edges = [edge("s", "a"), edge("s", "b"), edge("a", "c"), edge("b", "c", query="b:{query}"), edge("c", "j")]
    result = make("s", {"e": ECHO}, nodes, *edges).run("q")
    assert (result.answer, visited(result)) == ("[[[q]]]|[b:[q]]", ["s", "a", "b", "c", "c", "j"])


def test_names_that_the_compiled_graph_needs() -> None:
    with pytest.raises(GraphError, match="_finish"):
        make("_finish", {"e": ECHO}, {"_finish": expert("e"), "a": expert("e")}, edge("_finish", "a")).run("q")
    names = ["messages", "answer", "events", "spent", "inbox", "replies"]
    graph = make(names[0], {"e": ECHO}, {n: expert("e") for n in names}, *map(edge, names, names[1:]))
    assert visited(graph.run("q")) == names


def test_the_dialogue_must_end_with_the_user() -> None:
    from router import Message

    graph = make("a", {"w": rules(("thanks", "welcome"), (".*", "?"))}, {"a": expert("w")})
    assert (
        graph.run([Message("user", "hi"), Message("assistant", "hello"), Message("user", "thanks")]).answer == "welcome"
    )
    for bad in ([], [Message("assistant", "hello")]):
        with pytest.raises(RunError, match="ends with a user's turn"):
            graph.run(bad)
    with pytest.raises(RunError, match="ends with a user's turn"):
        graph.runnable.invoke({"messages": []})


def test_the_drawing_shows_the_edges_of_the_spec() -> None:
    nodes = {n: expert("e") for n in "sabc"} | {"j": {"kind": "join"}}
    edges = [edge("s", "a"), edge("s", "b"), edge("a", "j"), edge("b", "j"), edge("a", "c", "error"), edge("c", "j")]
    graph = make("s", {"e": ECHO}, nodes, *edges)
    drawn = graph.runnable.get_graph()
    own = {(e.source, e.target) for e in drawn.edges}
    expected = {(e["from"], e["to"]) for e in edges} | {
        ("__start__", "_begin"),
        ("_begin", "s"),
        ("_finish", "__end__"),
    }
    assert own == expected | {("j", "_finish")}
    text = drawn.draw_mermaid()
    assert all(f"{source} -.-> {target}" in text for source, target in own if source in "sabcj")
