"""What is streamed is the answer and nothing else."""

from __future__ import annotations

import pytest

from router.console.answer import Progress, StreamedAnswer, last_nodes
from router.spec import parse_spec
from router.trace import Delta
from router.types import NodeId

A, B = NodeId("a"), NodeId("b")


def stream(*pieces: tuple[NodeId, str, bool], answer: str) -> str:
    written: list[str] = []
    streamed = StreamedAnswer(frozenset({A, B}), Progress(), written.append)
    for node, text, working in pieces:
        streamed.show(Delta(node=node, text=text, working=working))
    streamed.finish(answer)
    return "".join(written)


@pytest.mark.parametrize("pieces", [[" \n", "The", " sun ", "", "  shines.", " "], ["The sun   shines."], []])
def test_pieces_add_up_to_the_answer(pieces: list[str]) -> None:
    assert stream(*((A, piece, False) for piece in pieces), answer="The sun   shines.") == "The sun   shines.\n"


def test_working_is_not_part_of_it() -> None:
    assert stream((A, "347 and", True), (A, " so: 936", True), answer="936") == "936\n"


def test_text_of_a_node_that_others_follow_is_not_part_of_it() -> None:
    assert stream((NodeId("c"), "a draft", False), (A, "final", False), answer="final") == "final\n"


def test_branches_that_write_at_the_same_time_are_not_mixed() -> None:
    assert stream((A, "one ", False), (B, "x", False), (A, "two", False), answer="one two\n\nx") == "one two\n\nx\n"


def test_an_answer_by_another_node_after_a_failure() -> None:
    assert stream((A, "I thi", False), (B, "Yes", False), answer="Yes") == "I thi\nYes\n"


def test_last_nodes() -> None:
    nodes = "  r: {kind: router, worker: w}\n" + "".join(f"  {name}: {{kind: expert, worker: w}}\n" for name in "abcd")
    spec = parse_spec(
        f"entry: r\nworkers: {{w: {{engine: scripted, rules: [{{answer: x}}]}}}}\nnodes:\n{nodes}"
        "edges:\n- {from: r, to: a}\n- {from: r, to: b}\n- {from: b, to: c, when: fallback}\n"
        "- {from: a, to: d}\n- {from: d, to: c, when: low_confidence, below: 0.5}\n"
    )
    assert last_nodes(spec) == {"b", "c"}
