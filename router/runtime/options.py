"""What a caller may ask of one run, beside the query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experts.engines.requests import JsonStructure
from experts.moe.mask import ExpertMask
from router.spec.models import GraphSpec, JoinNode
from router.trace import Event
from router.types import NodeId

RUN_OPTIONS = "run_options"
"""Key of a LangGraph run's ``config["configurable"]``: its RunOptions. Checkpoints do not hold them."""


@dataclass(frozen=True)
class RunOptions:
    """How one run is to be answered; None leaves the choice to the spec.

    The settings of the model (``max_tokens`` to ``logprobs``, ``tools`` and ``structure``) hold at the experts whose answer
    the user gets, and nowhere else on the way.

    Attributes:
        max_tokens: the longest answer; the graph's budget still bounds it.
        stop: texts that end the answer, besides the node's own.
        logprobs: report the log-probabilities of the answer's tokens, with so many alternatives each.
        authors: of token pairs, report who wrote each token and how critical it was.
        deadline: ``time.monotonic()`` value after which nobody waits for the answer any more.
        expert_mask: the mask of experts to answer with, one of the node's by its name, or any that fits its model; "none"
            for none. A node that cannot answer with it refuses.
        tools: functions (JSON Schema) that the model may call; it writes the call as its answer.
        structure: JSON that the answer is held to. A node that cannot be refuses; one that can writes nothing but the JSON,
            and its own ``stop`` and ``answer_after`` do not apply.
        keep: for a router, the node that it chose for the dialogue's earlier turns. It stays with that one unless
            another outcome is more probable by ``margin``.
        listener: told of each visit that this run makes when it is over, whichever way: so it is known what a run took that
            has no result.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    authors: bool = False
    deadline: float | None = None
    expert_mask: str | ExpertMask | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    structure: JsonStructure | None = None
    keep: Mapping[NodeId, NodeId] = field(default_factory=dict)
    margin: float = 0.0
    listener: Callable[[Event], None] | None = None

    def tell(self, event: Event) -> None:
        """Tells the listener, if there is one."""
        if self.listener is not None:
            self.listener(event)


NO_OPTIONS = RunOptions()


def answers(spec: GraphSpec, name: NodeId) -> bool:
    """Whether the user may get what a node writes: nothing but joins comes after it whatever it says."""
    after = [edge.target for edge in spec.edges if edge.source == name and spec.when(edge) == "always"]
    return all(isinstance(spec.nodes[target], JoinNode) and answers(spec, target) for target in after)
