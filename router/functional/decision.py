"""A routing decision: which node answers next, how sure that is, and the query that it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from experts.engines.requests import Message
from router.types import NodeId


@dataclass(frozen=True)
class Target:
    """A node that a router can choose: what it is called and what it is known by.

    ``token`` is the functional token's text if the spec names one.
    """

    node: NodeId
    description: str
    examples: tuple[str, ...] = ()
    token: str | None = None


@dataclass(frozen=True)
class Choice:
    """One possible outcome. ``node`` is None for abstaining."""

    node: NodeId | None
    token: str
    probability: float


@dataclass(frozen=True)
class Decision:
    """What a router decided.

    Attributes:
        chosen: the nodes to ask, most probable first; empty if the router abstained.
        queries: the reformulated query for each of ``chosen``.
        alternatives: the outcomes by falling probability (calibrated), the chosen ones and abstaining included.
        prompt_tokens: tokens read.
        generated_tokens: tokens written, the functional token included.
        malformed: for each of ``chosen``, what the router wrote where that was not a well-formed call; its query is then
            the user's own last turn. None for a well-formed one; empty for a router that writes no calls.
    """

    chosen: tuple[Choice, ...]
    queries: tuple[str, ...]
    alternatives: tuple[Choice, ...]
    prompt_tokens: int
    generated_tokens: int
    malformed: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Keep:
    """The node that answered a dialogue so far, and by how much another outcome must be more probable to replace it."""

    node: NodeId
    margin: float


def with_kept(
    chosen: tuple[Choice, ...], outcomes: Sequence[Choice], keep: Keep | None, fan_out: int
) -> tuple[Choice, ...]:
    """What was chosen, with the node to keep in the first place unless the best outcome beats it by the margin."""
    kept = None if keep is None else next((choice for choice in outcomes if choice.node == keep.node), None)
    if keep is None or kept is None or outcomes[0].probability - kept.probability > keep.margin:
        return chosen
    return (kept, *(choice for choice in chosen if choice != kept))[:fan_out]


class FunctionalRouter(Protocol):
    """Decides among a fixed set of targets: the out-edges of one router node."""

    async def decide(
        self, messages: Sequence[Message], *, fan_out: int = 1, threshold: float | None = None,
        keep: Keep | None = None,
    ) -> Decision:  # fmt: skip
        """Chooses up to ``fan_out`` nodes for a dialogue, or none.

        Args:
            messages: the dialogue; the last user turn weighs most.
            threshold: abstain if no node is at least so probable; None is the calibrated one.
            keep: the node of the dialogue's earlier turns.
        """
        ...

    async def decide_many(
        self, dialogues: Sequence[Sequence[Message]], *, threshold: float | None = None
    ) -> list[Decision]:
        """One decision a dialogue, computed in batches; for an encoder no text is generated at all."""
        ...
