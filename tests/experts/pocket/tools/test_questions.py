"""The questions that rows are trained on and measured with."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from experts.pocket.tools import questions as module
from experts.pocket.tools.questions import questions
from router.functional.data import read_labelled
from router.spec import ExpertNode, load_spec


def test_as_many_of_each_tool_and_the_first_ones_stay(tmp_path) -> None:
    few, more = questions("train", 3), questions("train", 6)
    assert set(Counter(example.problem.tool for example in few).values()) == {3}
    assert {e.question for e in few} <= {e.question for e in more}
    assert {e.task for e in questions("test", 2, domains=("dates",))} == {"days_between", "weekday", "later", "earlier"}


def test_train_and_test_share_no_problem() -> None:
    train, test = (questions(split, 30) for split in ("train", "test"))
    assert not {e.problem.canonical for e in train} & {e.problem.canonical for e in test}
    assert not {e.question for e in train} & {e.question for e in test}


def test_command_writes_marked_responses(tmp_path, monkeypatch) -> None:
    out = tmp_path / "q.jsonl"
    monkeypatch.setattr(
        sys, "argv", ["questions", "--split", "test", "--each", "2", "--domain", "units", "--out", str(out)]
    )
    module.main()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        call, _, rest = row["response"].partition("=")
        assert call.startswith("<convert_unit>(")
        assert row["answer"] == rest


def test_questions_for_a_router_have_as_many_of_each_node_of_the_graph(tmp_path, monkeypatch) -> None:
    out = tmp_path / "q.jsonl"
    monkeypatch.setattr(sys, "argv", ["questions", "--split", "train", "--each", "42", "--nodes", "--out", str(out)])
    module.main()
    graph = load_spec(Path(__file__).parents[4] / "graph_specs" / "pocket_tools.yaml")
    experts = [name for name, node in graph.nodes.items() if isinstance(node, ExpertNode)]
    assert Counter(row.node for row in read_labelled(out, experts)) == dict.fromkeys(experts, 42)
