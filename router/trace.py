"""What happened in a run, as events; each is plain data that goes into checkpoints, JSON and the terminal's tree."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from router.types import NodeId


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pick(_Frozen):
    """A node (None: abstaining), its functional token and the calibrated probability."""

    node: NodeId | None
    token: str
    probability: float


class _Visit(_Frozen):
    """What every visit of a node reports.

    Attributes:
        query: what the node was asked.
        prompt_tokens: tokens read.
        generated_tokens: tokens written.
        activated_parameters: weights used per written token.
        milliseconds: wall-clock time of the visit; without that of loading its models, which only the first one does.
    """

    node: NodeId
    query: str = ""
    prompt_tokens: int = 0
    generated_tokens: int = 0
    activated_parameters: int = 0
    milliseconds: float = 0.0


class TokenLogprob(_Frozen):
    """A written token, its natural log-probability under the model, the likeliest alternatives by text, and how many
    characters of the answer stand before it."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    offset: int = 0


class Routed(_Visit):
    """A router chose nodes, or none.

    Attributes:
        malformed: for each chosen node what the router wrote where that was no call, so that the node got the user's
            own words; None for a proper call, empty for a router that writes none.
    """

    kind: Literal["routed"] = "routed"
    chosen: tuple[Pick, ...]
    queries: tuple[str, ...]
    alternatives: tuple[Pick, ...] = Field(description="outcomes by falling probability, the chosen ones included")
    malformed: tuple[str | None, ...] = ()


class WrittenToken(_Frozen):
    """A token of a pair's answer.

    Attributes:
        author: which of the two models wrote it.
        score: how critical its place was; None where the large model went on after a critical token.
    """

    token: str
    author: Literal["small", "large"]
    score: float | None


class PairWriting(_Frozen):
    """How two models wrote an answer together.

    Attributes:
        large_share: of its tokens, those that the large model wrote.
        switches: how often that was called.
        threshold: criticality from which on a token was its.
        tokens: who wrote each, the end token included, if the caller asked for it.
    """

    large_share: float
    switches: int
    threshold: float
    tokens: tuple[WrittenToken, ...] = ()


class WrittenCall(_Frozen):
    """A call that a model made in its answer.

    Attributes:
        token: the text of the tool token; empty for a native call.
        written: the arguments as the model wrote them.
        arguments: what the tool was called with, as JSON values; None if that never became clear.
        text: the result, or what went wrong.
        failed: there was no result.
        cut: the result was longer than the tool's ``max_output``; ``text`` is its beginning.
        probability: of the tool token; of a native call, the mean one of a token of its turn.
    """

    tool: str
    token: str
    written: str
    arguments: dict[str, Any] | None
    text: str
    failed: bool = False
    cut: bool = False
    probability: float
    milliseconds: float = 0.0


class Answered(_Visit):
    """An expert or a pair of models answered.

    Attributes:
        working: what it wrote before the answer.
        probability: mean probability of a written token (the geometric mean).
        chosen: the functional token that it wrote instead of an answer, if it handed the query on.
        logprobs: of the answer's tokens, if the caller asked for them.
        pair: how a pair of models wrote it.
        calls: of tools, in the answer.
        expert_mask: the name of the mask of experts that it answered with.
    """

    kind: Literal["answered"] = "answered"
    answer: str
    working: str = ""
    probability: float
    finish_reason: Literal["stop", "length"]
    chosen: Pick | None = None
    logprobs: tuple[TokenLogprob, ...] = Field((), exclude_if=lambda logprobs: not logprobs)
    calls: tuple[WrittenCall, ...] = Field((), exclude_if=lambda calls: not calls)
    pair: PairWriting | None = Field(None, exclude_if=lambda pair: pair is None)
    expert_mask: str | None = Field(None, exclude_if=lambda mask: mask is None)


class Called(_Visit):
    """A tool was called; a call that gave no result is an event Failed.

    Attributes:
        arguments: what it was called with, as JSON values.
        text: the result.
        cut: the result was longer than the tool's ``max_output``; ``text`` is its beginning.
    """

    kind: Literal["called"] = "called"
    tool: str
    arguments: dict[str, Any]
    text: str
    cut: bool = False


class Joined(_Visit):
    """A join made one answer of several."""

    kind: Literal["joined"] = "joined"
    method: str
    sources: tuple[NodeId, ...]
    answer: str
    probability: float


class Failed(_Visit):
    """A node failed; its tokens are those until then. ``next`` lists where its error or fallback edges lead."""

    kind: Literal["failed"] = "failed"
    error: str
    next: tuple[NodeId, ...] = ()


class Stopped(_Visit):
    """A visit did not end: nobody waits for the run any more, or it waits for the user and begins anew. In no result."""

    kind: Literal["stopped"] = "stopped"
    reason: Literal["cut off", "waits for a yes"]


Event = Annotated[Routed | Answered | Called | Joined | Failed | Stopped, Field(discriminator="kind")]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class Delta(_Frozen):
    """A piece of text as it is written; only in streams.

    The pieces that are not ``working`` add up to the answer. ``working`` is text of which that is not certain: it may
    come before the answer, or another node may have the last word. A node that fails midway (an event Failed says so)
    takes back what it wrote.
    """

    kind: Literal["delta"] = "delta"
    node: NodeId
    text: str
    working: bool = False
