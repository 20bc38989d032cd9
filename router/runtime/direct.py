"""A run of one expert or pair of models alone: no graph to compile, no state to keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from experts.engines.requests import Message
from experts.errors import EngineError
from router.errors import GraphError, RunError, TokengraphError
from router.runtime.budget import Allowance
from router.runtime.engines import EnginePool
from router.runtime.options import RunOptions
from router.runtime.query import Prompt, Query
from router.runtime.result import RunResult, route_of, usage_of
from router.runtime.structures import check_node
from router.runtime.tools import ToolPool
from router.runtime.unfinished import milliseconds_since, telling
from router.runtime.visits import Visit, Visitor, visitor
from router.runtime.work import NOTHING_SPENT
from router.runtime.writer import Writer
from router.spec.models import AnsweringNode, GraphSpec
from router.trace import Delta, Event
from router.types import NodeId


class DirectRuns:
    """The runs of a graph's expert nodes, each alone."""

    def __init__(self, spec: GraphSpec, pool: EnginePool, tools: ToolPool) -> None:
        self._spec, self._pool, self._tools = spec, pool, tools
        self._runs: dict[NodeId, DirectRun] = {}
        self._lone = spec.entry if len(spec.nodes) == 1 and not spec.edges and self._is_expert(spec.entry) else None

    def of(self, node: NodeId | None = None) -> DirectRun | None:
        """The run of a node; by default of the only one, None if the graph is more than one expert.

        Raises:
            GraphError: there is no expert of that name.
        """
        node = node or self._lone
        if node is None:
            return None
        if node not in self._runs:
            if not self._is_expert(node):
                experts = ", ".join(name for name in self._spec.nodes if self._is_expert(name)) or "none"
                raise GraphError(f"expected an expert node to ask alone ({experts}), found {node!r}")
            # Alone it has the last word, and nobody to hand the query on to.
            alone = {"entry": node, "nodes": {node: self._spec.nodes[node]}, "edges": ()}
            spec = self._spec.model_copy(update=alone)
            self._runs[node] = DirectRun(spec, node, visitor(spec, node, self._pool, self._tools))
        return self._runs[node]

    def _is_expert(self, node: NodeId) -> bool:
        return isinstance(self._spec.nodes.get(node), AnsweringNode)


class DirectRun:
    """Asks one expert node, as a visit within the graph would, and takes what it says for the answer."""

    def __init__(self, spec: GraphSpec, name: NodeId, visitor: Visitor) -> None:
        self._spec, self._name, self._visitor = spec, name, visitor

    async def run(
        self,
        asked: Query | Prompt,
        options: RunOptions,
        send: Callable[[Delta | Event], None] | None = None,
    ) -> RunResult:
        """Answers; ``send`` receives text and the event as they come.

        Args:
            asked: a dialogue, which may end with a tool's turn, or a prompt to go on with.
        """
        started = time.perf_counter()
        exact = (Message("user", asked),) if isinstance(asked, str) else asked
        exact = exact if isinstance(exact, Prompt) else tuple(exact)
        query = exact.text if isinstance(exact, Prompt) else _last_question(exact)
        allowance = Allowance(self._spec.budget, NOTHING_SPENT, 0, 1, 0.0)
        writer = None if send is None else Writer(send, self._spec, self._name, raw=isinstance(exact, Prompt))
        visit = Visit(query, (), (), allowance, None if writer is None else writer.write, options, exact)
        try:
            with telling(self._name, visit):
                check_node(self._spec, self._name, options)
                allowance.check(writes=True)
                await self._visitor.load(visit)
                loaded = time.perf_counter()
                outcome = await allowance.in_time(self._visitor.visit(visit))
                if outcome.reply is None:
                    raise EngineError(
                        f"expected an answer of the node {self._name}, found that it hands the query on. Ask the graph"
                    )
        except TokengraphError as error:
            if send is not None:
                send(error.events[-1])
            raise
        event = outcome.event.model_copy(update={"milliseconds": milliseconds_since(loaded)})
        answer = outcome.reply["text"]
        if writer is not None:
            writer.end(event, answer)
        options.tell(event)
        events = (event,)
        usage = usage_of(events, seconds=time.perf_counter() - started, cost=0.0)
        return RunResult(query, answer, route_of(events), usage, events)


def _last_question(messages: Sequence[Message]) -> str:
    asked = next((message.content for message in reversed(messages) if message.role == "user"), None)
    if asked is None or messages[-1].role == "assistant":
        raise RunError("expected a dialogue that ends with a user's or a tool's turn, found another. Add one")
    return asked
