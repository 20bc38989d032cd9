"""The graph spec: what a person writes in YAML, as pydantic models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from experts.engines.config import WorkerSpec
from router.spec.gateway import GatewaySpec
from router.spec.tools import ToolSource
from router.types import NodeId, WorkerId

_Probability = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Node(_Strict):
    description: str = Field("", description="what this node answers; routers know it by this text")
    examples: tuple[str, ...] = Field((), description="a few queries that belong here; they sharpen the description")


class RouterNode(_Node):
    """Chooses the next node by one functional token."""

    kind: Literal["router"]
    worker: WorkerId = Field(description="a decoder that writes functional tokens, or a sentence encoder")
    tokens: Path | None = Field(
        None, description="folder made by `tokengraph train functional-tokens`; without it the model's own tokens are "
        "used, and vectors from the descriptions for nodes that it does not know",
    )  # fmt: skip
    system: str | None = Field(None, description="system prompt of a decoder")
    threshold: _Probability | None = Field(None, description="abstain below this probability; default: as calibrated")
    fan_out: _Positive = Field(1, description="how many nodes to ask at once, the most probable first")
    max_tokens: _Positive = Field(128, description="longest reformulated query")
    answer: str | None = Field(None, description="what to say when it abstains and no fallback edge leads on")


class AnsweringNode(_Node):
    """What nodes that answer with models have in common."""

    system: str | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int | None = None
    max_tokens: _Positive = 512
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    answer_after: str | None = Field(
        None, min_length=1, description="the answer is what follows the last of these; before it is working"
    )


class ExpertNode(AnsweringNode):
    """Answers with a model."""

    kind: Literal["expert"]
    worker: WorkerId
    adapter: str | None = Field(None, description="LoRA adapter of the worker")
    expert_mask: Path | None = Field(
        None, description="mask of experts that the model answers with: a file made by `tokengraph experts mask`"
    )
    expert_masks: tuple[Path, ...] = Field(
        (), description="masks that requests may ask for instead, by the names in these files"
    )
    tools: tuple[str, ...] = Field((), description="names of the graph's `tools` that the model may call in its answer")
    tool_format: Literal["tokens", "native"] = Field(
        "tokens",
        description="how it calls them: by one token each, or by its chat template's own function calling, in JSON",
    )
    tool_tokens: Path | None = Field(
        None, description="folder made by `tokengraph train tool-tokens`; without it the model's own tool tokens, and rows "
        "from the descriptions for tools that it does not know",
    )  # fmt: skip
    tool_bias: float | dict[str, float] = Field(
        0.0, description="added to the logits of tool tokens, of all or by tool: above 0 calls more often, below 0 less"
    )
    tool_calls: _Positive = Field(16, description="calls in one answer at most")


class TokenPairNode(AnsweringNode):
    """A small model writes, a large one emits only the critical tokens (R2R)."""

    kind: Literal["token_pair"]
    small: WorkerId = Field(description="the model that writes; its worker needs a token_router")
    large: WorkerId = Field(description="the model that emits the critical tokens; its tokenizer is the small one's")
    threshold: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="tokens at least so critical are the large model's; default: as calibrated for the target share",
    )
    max_large_share: _Probability = Field(
        1.0, description="at no moment is a larger share of the answer's tokens written by the large model"
    )
    large_run: _Positive = Field(1, description="tokens that the large model writes at each switch")


class ToolNode(_Node):
    """Calls a tool; the query is the call, such as ``days_between("2024-01-01", "2024-03-01")``."""

    kind: Literal["tool"]
    tool: str = Field(description="the name of one of `tools`")


class JoinNode(_Node):
    """Waits for every branch that leads to it and makes one answer of theirs."""

    kind: Literal["join"]
    method: Literal["vote", "best", "concat"] = Field("vote", description="best: highest mean log-probability")
    separator: str = "\n\n"


NodeSpec = Annotated[RouterNode | ExpertNode | TokenPairNode | ToolNode | JoinNode, Field(discriminator="kind")]

When = Literal["always", "token", "low_confidence", "error", "fallback"]


class EdgeSpec(_Strict):
    """What may follow a node.

    ``when`` is by default ``token`` out of a router and ``always`` elsewhere. ``always``: the node answered; out of a
    router, whatever it chose, and if it abstains and has no ``fallback`` edge. ``token``: the router (or an expert that
    writes functional tokens) chose it. ``low_confidence``: the answer's mean token probability is below ``below``.
    ``error``: the node failed. ``fallback``: a router abstained, or the node failed and has no ``error`` edge. A
    ``low_confidence`` edge that applies is taken instead of the ``token`` and ``always`` edges.
    """

    source: NodeId = Field(alias="from")
    target: NodeId = Field(alias="to")
    when: When | None = None
    token: str | None = Field(
        None, description="the functional token's own text, such as <node_2>; default: by position"
    )
    below: _Probability | None = Field(None, description="for low_confidence")
    query: str | None = Field(
        None, description="what the target is asked: text with {query} (what the source was asked), {answer} (what it "
        "answered) and {original} (what the user typed); default: the reformulated query along `token` edges, {answer} "
        "along `always` edges, else {query}",
    )  # fmt: skip
    cost: Annotated[float, Field(ge=0)] = Field(0.0, description="price of taking this edge, in your own unit")


class Budget(_Strict):
    """Bounds of one run; None is no bound."""

    steps: _Positive | None = Field(None, description="nodes visited")
    tokens: _Positive | None = Field(None, description="tokens generated, all nodes together")
    seconds: Annotated[float, Field(gt=0)] | None = Field(None, description="time; not that of loading models")
    cost: Annotated[float, Field(ge=0)] | None = Field(None, description="sum of the edges' costs")


class GraphSpec(_Strict):
    """A graph of models. ``load_spec`` reads one from YAML; relative paths in it are made absolute there."""

    version: Literal[1] = 1
    name: str = Field("graph", pattern=r"^[\w.-]+$")
    description: str = ""
    entry: NodeId = Field(description="the node that gets the user's query")
    workers: dict[WorkerId, WorkerSpec] = Field(default_factory=dict)
    nodes: dict[NodeId, NodeSpec] = Field(min_length=1)
    edges: tuple[EdgeSpec, ...] = ()
    tools: tuple[ToolSource, ...] = Field((), description="what tool nodes call")
    budget: Budget = Budget()
    gateway: GatewaySpec = GatewaySpec()

    def when(self, edge: EdgeSpec) -> When:
        """The condition of an edge, its default filled in."""
        return edge.when or ("token" if isinstance(self.nodes.get(edge.source), RouterNode) else "always")
