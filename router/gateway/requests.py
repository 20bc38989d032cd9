"""What clients send, in OpenAI's form. Fields that mean nothing here are accepted, as OpenAI does."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from router.gateway.errors import Refused
from router.gateway.response_format import ResponseFormat
from router.gateway.tool_choice import Tool, ToolChoice
from router.gateway.wire import Wire

_Stop = Annotated[str, Field(min_length=1)]
_Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_TokenId = Annotated[int, Field(ge=0, lt=2**31)]
_MOST_CHOICES = 128

R = TypeVar("R", bound="_Request")


class StreamOptions(Wire):
    """Of a stream: whether a last chunk reports the usage."""

    include_usage: bool = False


class _Request(Wire):
    model: str = Field(description="the graph's name, or GRAPH/NODE for one node alone")
    user: str | None = None


class _Generating(_Request):
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=_MOST_CHOICES)] | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: _Seed | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=16)] | None = None
    session: str | None = Field(None, description="of one dialogue: it stays with its node unless its topic changes")
    expert_mask: str | None = Field(None, description="mask of experts to answer with, by its name; none for none")

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class TextPart(Wire):
    """A piece of a turn's text."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, part: Any) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise PydanticCustomError(
                "only_text",
                "expected a part of type text, the only one that is supported, found {kind}",
                {"kind": kind[:80]},
            )
        return part


class CalledFunction(Wire):
    """A function that the assistant called, its arguments as JSON text."""

    name: str
    arguments: str


class AssistantToolCall(Wire):
    """A call in an assistant's earlier turn."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Wire):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[AssistantToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The turn's text in one piece."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class ChatRequest(_Generating):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    show_tool_calls: bool | None = Field(
        None, description="tell the calls that nodes made as `tool_calls` of the answer; their ids begin with made_"
    )

    @property
    def callable_tools(self) -> tuple[dict[str, Any], ...]:
        """The tools that the model is told of."""
        tools = [] if self.tool_choice == "none" else self.tools or []
        return tuple(tool.model_dump(exclude_none=True) for tool in tools)


class CompletionRequest(_Generating):
    """``POST /v1/completions``."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=_MOST_CHOICES)]
        | Annotated[list[_TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[_TokenId], Field(min_length=1)]], Field(min_length=1, max_length=_MOST_CHOICES)]
    ) = Field(description="what a node goes on with; the whole graph takes a text for a question")
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


class EmbeddingRequest(_Request):
    """``POST /v1/embeddings``."""

    input: str | Annotated[list[str], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None


_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    # field: the values that ask for nothing
    "response_format": (None, {"type": "text"}),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "prediction": (None,),
    "web_search_options": (None,),
    "suffix": (None, ""),
    "echo": (None, False),
    "best_of": (None, 1),
    "dimensions": (None,),
}


def read(form: type[R], body: bytes) -> R:
    """A request's body.

    Raises:
        ValidationError: it is not of that form.
        Refused: it asks for something that the gateway cannot do; the message names it.
    """
    request = form.model_validate_json(body)
    for name, value in (request.model_extra or {}).items():
        if value not in _UNSUPPORTED.get(name, (value,)):
            raise Refused(
                f"expected no {name}, found one: it is not supported here. Leave it out",
                code="unsupported_parameter", param=name,
            )  # fmt: skip
    return request
