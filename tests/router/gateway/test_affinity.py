"""A dialogue stays with its node unless its topic changes."""

from __future__ import annotations

from typing import Any

import pytest

from router.gateway.affinity import Affinity, keys_after, keys_before
from router.types import NodeId
from tests.router.gateway.servers import Running, serving
from tests.router.runtime.graphs import edge, expert, router, says, spec


def graph(margin: float) -> Any:
    """An encoder chooses between sums and poems; "and another one" says nothing about either."""
    workers = {"master": {"engine": "local", "model": "all-MiniLM-L6-v2", "task": "embed"}, "e": says("fine")}
    nodes = {
        "master": router("master"),
        "sums": expert("e", description="arithmetic, adding and multiplying numbers"),
        "poems": expert("e", description="poems, rhymes and verses about love and nature"),
    }
    edges = [edge("master", "sums"), edge("master", "poems")]
    return spec("master", workers, nodes, *edges, name="desk", gateway={"affinity": margin})


def asked(running: Running, texts: list[str], **more: Any) -> str:
    """The node that answers the last of the user's turns."""
    turns: list[Any] = [{"role": "user", "content": texts[0]}]
    for text in texts[1:]:
        turns += [{"role": "assistant", "content": "fine"}, {"role": "user", "content": text}]
    answer = running.client().chat.completions.create(model="desk", messages=turns, extra_body=more)
    return str(answer.usage.nodes[-1]["node"])  # type: ignore[union-attr]


def test_it_stays_within_the_margin_and_leaves_beyond() -> None:
    first, second = "what is 12 times 8", "write verses about spring and love, with rhymes"
    for margin, stays in ((1.0, "sums"), (0.0, "poems")):
        with serving(graph(margin)) as running:
            assert asked(running, [first]) == "sums"
            assert asked(running, [first, second]) == stays
            assert asked(running, [second]) == "poems", "a new dialogue begins anew"


def test_a_session_is_recognised_without_its_turns() -> None:
    with serving(graph(1.0)) as running:
        assert asked(running, ["what is 12 times 8"], session="s") == "sums"
        assert asked(running, ["write verses about spring"], session="s") == "sums"
        assert asked(running, ["write verses about spring"], session="other") == "poems"


def test_keys_recognise_a_dialogue_that_goes_on() -> None:
    from experts.engines.requests import Message

    first = (Message("user", "a"),)
    answer = Message("assistant", "b")
    after = keys_after("k", first, answer, None, None)
    assert set(after) == set(keys_before("k", (*first, answer, Message("user", "c")), None, None))
    assert not set(after) & set(keys_before("other key", (*first, answer, Message("user", "c")), None, None))
    assert keys_before("k", first, None, "somebody") == [], "a new dialogue of a known user is new"
    assert len(keys_before("k", (*first, answer, Message("user", "c")), "session", "somebody")) == 3


def test_the_oldest_dialogues_are_forgotten() -> None:
    from router import Router
    from tests.router.gateway.graphs import desk

    result = Router(desk()).run("repeat x")
    affinity = Affinity(dialogues=2)
    for key in (b"1", b"2", b"3"):
        affinity.remember([key], result)
    assert affinity.course([b"1"]).node is None
    assert affinity.course([b"1", b"3"]).choices == {NodeId("master"): NodeId("echo")}


@pytest.mark.parametrize(
    ("margin", "node", "answer"), [(0.05, "echo", "[me]"), (0.95, "other", "something else altogether")]
)
def test_a_decoder_keeps_a_node_within_the_margin(margin: float, node: str, answer: str) -> None:
    from router import Router
    from router.runtime.options import RunOptions
    from tests.router.gateway.graphs import desk

    options = RunOptions(keep={NodeId("master"): NodeId("other")}, margin=margin)  # the master is sure by 0.9
    result = Router(desk()).run("repeat me", options=options)
    assert ([pick.node for pick in result.route], result.answer) == ([node], answer)
