"""Which node would answer? Decisions alone, without a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from experts.engines.requests import Message
from router.errors import GraphError
from router.functional.decision import Decision
from router.runtime.unfinished import milliseconds_since
from router.runtime.visits import RouteVisitor, Visitor
from router.spec.models import GraphSpec, RouterNode
from router.trace import Event
from router.types import NodeId

Dialogues = Sequence[Sequence[Message]]


async def decide(
    spec: GraphSpec, visitors: Mapping[NodeId, Visitor], dialogues: Dialogues, *,
    node: NodeId | None = None, path: frozenset[NodeId] = frozenset(), listener: Callable[[Event], None] | None = None,
) -> list[Decision]:  # fmt: skip
    """One decision a dialogue; where a router chooses another router, that one decides in turn, each router once.

    Args:
        node: the router that begins; the entry by default.
        path: routers that decided already.
        listener: told of each decision, as of a visit.

    Raises:
        GraphError: the entry is no router.
    """
    node = node or spec.entry
    kind, visitor = spec.nodes[node], visitors[node]
    if not isinstance(kind, RouterNode) or not isinstance(visitor, RouteVisitor):
        raise GraphError(f"expected a router at {node}, found kind {kind.kind}. Give the graph a router as its entry")
    router, activated = await visitor.loaded()
    started = time.perf_counter()
    if len(dialogues) == 1:
        decisions = [await router.decide(dialogues[0], threshold=kind.threshold)]
    else:
        decisions = await router.decide_many(dialogues, threshold=kind.threshold)
    milliseconds = milliseconds_since(started) / len(dialogues) if dialogues else 0.0
    path |= {node}
    below: dict[NodeId, dict[int, Sequence[Message]]] = {}
    for place, (dialogue, decision) in enumerate(zip(dialogues, decisions, strict=True)):
        query = dialogue[-1].content
        outcome = visitor.outcome(query, decision, activated)
        if listener is not None:
            listener(outcome.event.model_copy(update={"milliseconds": milliseconds}))
        for move in visitor.ways_out.moves(outcome, query=query, original=query)[:1] if decision.chosen else ():
            target = move.edge.target
            if isinstance(spec.nodes[target], RouterNode) and target not in path:
                below.setdefault(target, {})[place] = (*dialogue[:-1], Message("user", move.query))
    for target, asked in below.items():
        deeper = await decide(spec, visitors, tuple(asked.values()), node=target, path=path, listener=listener)
        for place, decision in zip(asked, deeper, strict=True):
            decisions[place] = decision
    return decisions
