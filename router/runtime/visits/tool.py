"""Visiting a tool: the query is a call of it, the result is the answer."""

from __future__ import annotations

from router.runtime.moves import Outcome
from router.runtime.tools import ToolPool
from router.runtime.visits.base import Visit
from router.runtime.work import Reply
from router.spec.models import ToolNode
from router.trace import Called
from router.types import NodeId


class ToolVisitor:
    """Calls the node's tool within its limits; the user is asked first if it has side effects."""

    def __init__(self, name: NodeId, node: ToolNode, pool: ToolPool) -> None:
        self._name, self._node, self._pool = name, node, pool

    async def load(self, visit: Visit) -> None:
        """Nothing: a tool has no model."""

    async def visit(self, visit: Visit) -> Outcome:
        caller = await self._pool.caller(self._node.tool)
        result = await caller.call(self._node.tool, visit.query, raises=True, consent=visit.consent)
        event = Called(
            node=self._name, query=visit.query, tool=result.tool, arguments=dict(result.arguments or {}),
            text=result.text, cut=result.cut,
        )  # fmt: skip
        return Outcome(event, reply=Reply(node=self._name, text=result.text, logprob=0.0), probability=1.0)
