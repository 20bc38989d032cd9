"""Which edges are taken after a visit, and with which query."""

from __future__ import annotations

import re
from collections import defaultdict
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


class WaysOut:
    """The edges out of one node, sorted by their condition once: a router may have thousands of them."""

    def __init__(self, spec: GraphSpec, node: NodeId) -> None:
        self._spec = spec
        self._router = isinstance(spec.nodes[node], RouterNode)
        self._edges: dict[When, list[EdgeSpec]] = defaultdict(list)
        self._picked: dict[NodeId, list[tuple[int, EdgeSpec]]] = defaultdict(list)  # `token` edges and their places
        for place, edge in enumerate(spec.edges):
            if edge.source == node:
                self._edges[spec.when(edge)].append(edge)
                if spec.when(edge) == "token":
                    self._picked[edge.target].append((place, edge))

    def moves(self, outcome: Outcome, *, query: str, original: str) -> tuple[Move, ...]:
        """The edges that a visit's outcome leads along; none ends this branch of the run.

        A target is asked once, along the first edge that applies. An expert that hands the query on gives no answer
        that an ``always`` edge could carry on; a router takes its ``always`` edges whatever it chose.

        Args:
            query: what the node was asked.
            original: what the user typed.
        """
        reformulated = dict(outcome.picks)
        answer = None if outcome.reply is None else outcome.reply["text"]
        if outcome.failure is not None:
            taken = self._when("error") or self._when("fallback")
        elif not outcome.picks and answer is None:
            taken = self._when("fallback") or self._when("always")
        else:
            unsure = [e for e in self._when("low_confidence") if (outcome.probability or 0.0) < (e.below or 0.0)]
            places = sorted(place for target in reformulated for place in self._picked.get(target, ()))
            picked = [edge for _, edge in places]
            handed_on = answer is None and not self._router
            taken = unsure or (picked if handed_on else picked + self._when("always"))

        def ask(edge: EdgeSpec) -> str:
            if edge.query is not None:
                texts = {"query": query, "answer": answer or "", "original": original}
                # In one pass, so that braces in the texts stay what they are.
                return _PLACEHOLDER.sub(lambda found: texts[found[1]], edge.query)
            if self._spec.when(edge) == "token":
                return reformulated[edge.target]
            return answer if answer is not None and self._spec.when(edge) == "always" else query

        first = {edge.target: edge for edge in reversed(taken)}
        return tuple(Move(edge, ask(edge)) for edge in taken if edge is first[edge.target])

    def _when(self, kind: When) -> list[EdgeSpec]:
        return self._edges.get(kind, [])
