"""Which edges are taken after a visit, and with which query."""

from __future__ import annotations

import re
from dataclasses import dataclass

from router.runtime.work import Reply
from router.spec.models import EdgeSpec, GraphSpec, RouterNode, When
from router.trace import Event
from router.types import NodeId

_PLACEHOLDER = re.compile(r"\{(query|answer|original)\}")


@dataclass(frozen=True)
class Outcome:
    """How a visit ended.

    Attributes:
        event: for the trace.
        picks: nodes chosen by functional tokens, with the reformulated query of each.
        reply: what the node answered; None if it did not answer.
        probability: how sure the node was: of its choice, or per written token; None if it failed.
        failure: the error that ended it.
    """

    event: Event
    picks: tuple[tuple[NodeId, str], ...] = ()
    reply: Reply | None = None
    probability: float | None = None
    failure: Exception | None = None


@dataclass(frozen=True)
class Move:
    """One edge taken."""

    edge: EdgeSpec
    query: str


def moves(spec: GraphSpec, node: NodeId, outcome: Outcome, *, query: str, original: str) -> tuple[Move, ...]:
    """The edges that a visit's outcome leads along; none ends this branch of the run.

    A target is asked once, along the first edge that applies. An expert that hands the query on gives no answer that an
    ``always`` edge could carry on; a router takes its ``always`` edges whatever it chose.

    Args:
        query: what the node was asked.
        original: what the user typed.
    """
    edges = [edge for edge in spec.edges if edge.source == node]
    reformulated = dict(outcome.picks)
    answer = None if outcome.reply is None else outcome.reply["text"]

    def when(kind: When) -> list[EdgeSpec]:
        return [edge for edge in edges if spec.when(edge) == kind]

    if outcome.failure is not None:
        taken = when("error") or when("fallback")
    elif not outcome.picks and answer is None:
        taken = when("fallback") or when("always")
    else:
        unsure = [e for e in when("low_confidence") if (outcome.probability or 0.0) < (e.below or 0.0)]
        picked = [edge for edge in when("token") if edge.target in reformulated]
        handed_on = answer is None and not isinstance(spec.nodes[node], RouterNode)
        taken = unsure or (picked if handed_on else picked + when("always"))

    def ask(edge: EdgeSpec) -> str:
        if edge.query is not None:
            texts = {"query": query, "answer": answer or "", "original": original}
            # In one pass, so that braces in the texts stay what they are.
            return _PLACEHOLDER.sub(lambda found: texts[found[1]], edge.query)
        if spec.when(edge) == "token":
            return reformulated[edge.target]
        return answer if answer is not None and spec.when(edge) == "always" else query

    first = {edge.target: edge for edge in reversed(taken)}
    return tuple(Move(edge, ask(edge)) for edge in taken if edge is first[edge.target])
