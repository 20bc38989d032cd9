"""What clients get, in OpenAI's form: plain data, typed, so that nothing is built twice."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads no other below Python 3.12

FinishReason = Literal["stop", "length", "tool_calls"]


class NodeUsage(TypedDict):
    """What one visit of a node took; ``large_share`` of a pair of models, the share of tokens that the large one wrote."""

    node: str
    prompt_tokens: int
    completion_tokens: int
    activated_parameters: int
    milliseconds: float
    large_share: NotRequired[float]


class Usage(TypedDict):
    """What a request took, all nodes together and one by one."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    nodes: NotRequired[list[NodeUsage]]


class TopLogprob(TypedDict):
    """A token that could have been written."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobEntry(TopLogprob):
    """A written token."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    """The log-probabilities of a chat answer."""

    content: list[TokenLogprobEntry]


class CompletionLogprobs(TypedDict):
    """The log-probabilities of a completion."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class FunctionCall(TypedDict):
    """A function to call, its arguments as JSON text."""

    name: str
    arguments: str


class ToolCallEntry(TypedDict):
    """A call that the model asks for; ``index`` only in streams."""

    index: NotRequired[int]
    id: str
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(TypedDict):
    """The answer."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: NotRequired[list[ToolCallEntry]]


class ChatChoice(TypedDict):
    """One of ``n`` answers."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class RunDetail(TypedDict):
    """How an answer came about: the functional tokens chosen, the events, the call that waits for a yes."""

    route: list[dict[str, Any]]
    events: list[dict[str, Any]]
    pending: NotRequired[dict[str, Any]]


class Detail(TypedDict):
    """The extension field ``tokengraph``: where the trace is, and one entry a run."""

    trace: str
    runs: list[RunDetail]


class ChatCompletion(TypedDict):
    """The response of ``POST /v1/chat/completions``."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    tokengraph: Detail


class ChunkDelta(TypedDict, total=False):
    """What a chunk adds."""

    role: Literal["assistant"]
    content: str
    tool_calls: list[ToolCallEntry]


class ChunkChoice(TypedDict):
    """A chunk's piece of one answer."""

    index: int
    delta: ChunkDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(TypedDict):
    """One event of a chat stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: NotRequired[Usage | None]
    tokengraph: NotRequired[Detail]


class CompletionChoice(TypedDict):
    """One completion, or a piece of one."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class Completion(TypedDict):
    """The response of ``POST /v1/completions``, and one event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]
    tokengraph: NotRequired[Detail]


class ModelEntry(TypedDict):
    """A model that can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """The response of ``GET /v1/models``."""

    object: Literal["list"]
    data: list[ModelEntry]


class EmbeddingEntry(TypedDict):
    """The vector of one text, as numbers or as base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(TypedDict):
    """The response of ``POST /v1/embeddings``."""

    object: Literal["list"]
    model: str
    data: list[EmbeddingEntry]
    usage: Usage


class ErrorDetail(TypedDict):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """The body of every response that is an error, and the event that ends a stream that failed."""

    error: ErrorDetail
