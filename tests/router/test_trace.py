"""Events are plain data."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from router.runtime.result import route_of, usage_of
from router.trace import EVENT, Answered, Event, Failed, Joined, Pick, Routed
from router.types import NodeId

A, B = NodeId("a"), NodeId("b")
PICK = Pick(node=A, token="<node_0>", probability=0.75)
NOBODY = Pick(node=None, token="<none>", probability=0.25)
EVENTS: list[Event] = [
    Routed(node=A, query="q", chosen=(PICK,), queries=("r",), alternatives=(PICK, NOBODY), malformed=(None,),
           prompt_tokens=3, generated_tokens=1, activated_parameters=10),
    Answered(node=B, answer="x", probability=0.5, finish_reason="stop", generated_tokens=3, activated_parameters=30),
    Answered(node=B, answer="", probability=0.5, finish_reason="length", chosen=PICK),
    Joined(node=A, method="vote", sources=(A, B), answer="x", probability=1),
    Failed(node=B, error="dead", next=(A,)),
]  # fmt: skip


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_events_survive_json(event: Event) -> None:
    assert EVENT.validate_python(json.loads(json.dumps(event.model_dump(mode="json")))) == event
    assert EVENT.validate_json(event.model_dump_json()) == event


def test_events_are_frozen_and_strict() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EVENTS[0].query = "other"
    with pytest.raises(ValidationError, match="Extra inputs"):
        EVENT.validate_python({"kind": "failed", "node": "a", "error": "x", "mistyped": 1})


def test_the_route_of_a_trace() -> None:
    assert route_of(EVENTS) == (PICK, PICK)
    abstained = Routed(node=A, chosen=(), queries=(), alternatives=(NOBODY, PICK))
    assert route_of([abstained]) == (NOBODY,)
    unseen = Routed(node=A, chosen=(), queries=(), alternatives=(PICK,))
    assert route_of([unseen])[0].node is None


def test_the_usage_of_a_trace() -> None:
    usage = usage_of(EVENTS, seconds=2.0, cost=0.5)
    assert (usage.prompt_tokens, usage.generated_tokens, usage.steps) == (3, 4, 5)
    assert usage.activated_parameters == pytest.approx((1 * 10 + 3 * 30) / 4)
    assert usage_of([], seconds=0, cost=0).activated_parameters == 0.0
