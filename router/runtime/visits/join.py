"""Visiting a join: one answer of several."""

from __future__ import annotations

import math
from collections import defaultdict

from experts.errors import EngineError
from router.runtime.moves import Outcome
from router.runtime.visits.base import Visit
from router.runtime.work import Reply
from router.spec.models import JoinNode
from router.trace import Joined
from router.types import NodeId


class JoinVisitor:
    """Joins the replies of every branch that leads here; a branch that failed or handed on brings none."""

    def __init__(self, name: NodeId, node: JoinNode) -> None:
        self._name, self._node = name, node

    async def load(self, visit: Visit) -> None:
        """Nothing: a join has no model."""

    async def visit(self, visit: Visit) -> Outcome:
        replies = [task["reply"] for task in visit.tasks if task["reply"] is not None]
        if not replies:
            sources = ", ".join(str(task["source"]) for task in visit.tasks)
            raise EngineError(
                f"expected at least one answer at the join {self._name}, found none from {sources}. Lead an expert's "
                "edge there, or give the join an error edge"
            )
        text, logprob = _joined(self._node, replies)
        probability = math.exp(logprob)
        event = Joined(
            node=self._name, query=visit.query, method=self._node.method, answer=text, probability=probability,
            sources=tuple(NodeId(reply["node"]) for reply in replies),
        )  # fmt: skip
        return Outcome(event, reply=Reply(node=self._name, text=text, logprob=logprob), probability=probability)


def _joined(node: JoinNode, replies: list[Reply]) -> tuple[str, float]:
    """The text and its log-probability; of several texts, the least sure one's."""
    if node.method == "concat":
        return node.separator.join(reply["text"] for reply in replies), min(reply["logprob"] for reply in replies)
    chosen = _best(replies if node.method == "best" else _largest_camp(replies))
    return chosen["text"], chosen["logprob"]


def _largest_camp(replies: list[Reply]) -> list[Reply]:
    """The most frequent answer, case and white space ignored; among equals the one with the best log-probability."""
    camps: dict[str, list[Reply]] = defaultdict(list)
    for reply in replies:
        camps[" ".join(reply["text"].casefold().split())].append(reply)
    return max(camps.values(), key=lambda camp: (len(camp), _best(camp)["logprob"]))


def _best(replies: list[Reply]) -> Reply:
    """The answer with the highest mean log-probability per token."""
    return max(replies, key=lambda reply: reply["logprob"])
