"""What is sent to a vLLM server, and what is read of its answers."""

from __future__ import annotations

import base64
from typing import Literal

from pydantic import BaseModel, ConfigDict

# What tokengraph's plugin reads of ``vllm_xargs``.
MASK_ARGUMENT, SCAN_ARGUMENT = "expert_mask", "expert_scan"
THRESHOLD_ARGUMENT, AFTER_ARGUMENT, CRITICALITY_ARGUMENT = "defer_threshold", "defer_after", "criticality"
SESSION_ARGUMENT = "session"
_PREFIX = "token_id:"


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CompletionCall(_Sent):
    """The body of POST /v1/completions.

    Every setting that a checkpoint's generation configuration could change is sent. The model's own end tokens are
    sent as ``stop_token_ids``, so that ``ignore_eos`` always holds and this side alone knows what ends an answer.
    """

    model: str
    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = True
    allowed_token_ids: tuple[int, ...] | None = None
    logit_bias: dict[int, float] | None = None
    logprobs: int = 0
    logprob_token_ids: tuple[int, ...] | None = None
    structured_outputs: dict[str, str | bool] | None = None
    stream: bool = False
    return_token_ids: bool = True
    return_tokens_as_token_ids: bool = True
    vllm_xargs: dict[str, str | int | float] | None = None


class EmbeddingCall(_Sent):
    """The body of POST /v1/embeddings; base64 carries float32 exactly."""

    model: str
    input: tuple[tuple[int, ...], ...]
    encoding_format: Literal["base64"] = "base64"


class Logprobs(_Read):
    """Per token: its log-probability, and those of other tokens by name (``token_id:7``)."""

    token_logprobs: tuple[float, ...]
    top_logprobs: tuple[dict[str, float], ...]

    def others(self, position: int) -> dict[int, float]:
        """The reported log-probabilities at a position by token id, best first."""
        named = self.top_logprobs[position].items()
        return {int(name.removeprefix(_PREFIX)): value for name, value in sorted(named, key=lambda item: -item[1])}


class Choice(_Read):
    """A whole answer, or the piece of it in one event of a stream."""

    token_ids: tuple[int, ...] | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Completion(_Read):
    """The answer of POST /v1/completions, or one event of its stream."""

    choices: tuple[Choice, ...]


class Embedding(_Read):
    """One vector."""

    index: int
    embedding: str

    def decoded(self) -> bytes:
        """Little-endian float32."""
        return base64.b64decode(self.embedding)


class Embeddings(_Read):
    """The answer of POST /v1/embeddings."""

    data: tuple[Embedding, ...]


class ModelCard(_Read):
    """A model or adapter that the server offers; ``root`` is where it was loaded from."""

    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class ModelList(_Read):
    """The answer of GET /v1/models."""

    data: tuple[ModelCard, ...]


class Fault(_Read):
    """What went wrong: ``code`` is the HTTP status, ``param`` what was wrong in the request."""

    message: str
    code: int | None = None
    param: str | None = None


class FaultBody(_Read):
    """The body of an answer, or an event of a stream, that reports an error."""

    error: Fault
