"""What goes into an engine and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NewType
from uuid import uuid4

TokenId = NewType("TokenId", int)

NEVER = -100.0
"""The logit bias of a token that is not to be chosen."""

NO_MASK: Literal["none"] = "none"
"""Asks for no mask of experts, also of a server that has one for everybody who names none."""

FinishReason = Literal["stop", "length", "defer"]


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool that a model asked for; ``arguments`` is a JSON object."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One turn of a dialogue. ``content`` is plain text: it never becomes a special token.

    Attributes:
        tool_calls: what the assistant asked for in this turn.
        tool_call_id: of a tool's turn, the call that it answers.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. ``temperature`` 0 is greedy; ``seed`` makes a drawn answer repeatable."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


class Session:
    """Shared by requests that continue one another: the prompt of each begins with the prompt and answer of the last.

    An engine may keep keys and values between them, for as long as this object is alive.

    Attributes:
        name: differs from that of every other session.
    """

    def __init__(self) -> None:
        self.name = uuid4().hex


@dataclass(frozen=True)
class Defer:
    """When to leave a token to another model (R2R, "Small-Large Model Token Routing").

    The worker's token router says how probable it is that the model's most probable token would lead the answer astray:
    its criticality. A token is not taken where that reaches the threshold; the generation ends before it, with
    ``finish_reason`` "defer". That is so too where tokens are drawn at random: the most probable one is what is scored.

    Attributes:
        threshold: criticality from which on a token is not taken; 0 leaves every token, above 1 none.
        after: so many tokens of this request are taken whatever their criticality.
    """

    threshold: float
    after: int = 0


@dataclass(frozen=True)
class JsonStructure:
    """An answer that is JSON, and nothing but JSON, from its first token to its last.

    Attributes:
        schema: the JSON Schema that it fits; None for any object.
    """

    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class GenerateRequest:
    """One request to generate.

    Attributes:
        messages: a dialogue, rendered with the model's own chat template. Exclusive with ``prompt_ids``.
        tools: what the model may call, as JSON Schema functions; the chat template renders them.
        prompt_ids: the exact prompt.
        forced_ids: tokens appended to the prompt after rendering (a functional token already chosen, say).
        first_token_ids: if given, the first token is chosen among these alone, and ``Generation.first_logprobs``
            holds their log-probabilities, renormalised over this set.
        allowed_token_ids: if given, every token is chosen among these; log-probabilities are renormalised over them.
        stop: texts that end the answer; they are not part of it.
        stop_token_ids: tokens that end the answer, besides the model's own end token; the last entry of
            ``Generation.token_ids`` when one did, and never part of ``Generation.text``.
        logit_bias: added to the logits of these tokens before one is chosen, from -100 (as good as never) to 100; all
            log-probabilities stay the model's own.
        structure: what the answer is held to, token by token (needs Capability.STRUCTURED_OUTPUTS); all log-probabilities
            stay the model's own. One that is cut off, by ``max_tokens`` or ``stop``, is the beginning of such an answer.
        top_logprobs: how many alternatives to report per token.
        adapter: name of a LoRA adapter of this engine.
        expert_mask: name of a mask of experts that was registered with this engine, or ``NO_MASK``. By default there is
            none, unless a server has one for everybody.
        defer: leave critical tokens to another model (needs Capability.DEFER).
        criticality: report ``Generation.criticality``, whether or not anything is deferred (needs Capability.DEFER).
        session: what it has in common with the requests before and after it that continue one answer.
        ignore_eos: go on past the model's end token (for benchmarks).
        deadline: value of ``time.monotonic()`` after which nobody waits any more: the engine stops and raises
            DeadlineExceeded.
    """

    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    prompt_ids: tuple[TokenId, ...] | None = None
    forced_ids: tuple[TokenId, ...] = ()
    max_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[TokenId, ...] = ()
    first_token_ids: tuple[TokenId, ...] | None = None
    allowed_token_ids: tuple[TokenId, ...] | None = None
    logit_bias: Mapping[TokenId, float] = field(default_factory=dict)
    structure: JsonStructure | None = None
    top_logprobs: int = 0
    adapter: str | None = None
    expert_mask: str | None = None
    defer: Defer | None = None
    criticality: bool = False
    session: Session | None = None
    ignore_eos: bool = False
    deadline: float | None = None


@dataclass(frozen=True)
class Generation:
    """What an engine wrote.

    Attributes:
        token_ids: every generated token, the stopping one included; none if the very first was left to another model.
        text: the answer, special tokens, the stopping token and the stop text left out.
        logprobs: natural log-probability of each of ``token_ids`` under the model (temperature 1).
        top_logprobs: per token, the best ``top_logprobs`` alternatives; empty if none were asked for.
        first_logprobs: log-probabilities over ``first_token_ids``.
        stop_reason: the token or text that ended it; None for the model's own end token or the length limit.
        criticality: if asked for, the score of each place: how probable it is that the most probable token there leads
            the answer astray. One for each of ``token_ids``, and last that of the place where it ended by "defer".
    """

    token_ids: tuple[TokenId, ...]
    text: str
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    top_logprobs: tuple[dict[TokenId, float], ...] = ()
    first_logprobs: dict[TokenId, float] = field(default_factory=dict)
    stop_reason: TokenId | str | None = None
    criticality: tuple[float, ...] = ()

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability per token; 0.0 for an empty answer."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else 0.0


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed answer. The last chunk carries the whole ``generation``; the texts add up to its text."""

    text: str
    token_ids: tuple[TokenId, ...] = ()
    generation: Generation | None = None
