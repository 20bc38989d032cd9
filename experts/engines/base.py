"""The contract that every engine keeps. ``tests/experts/engines/conformance.py`` is its executable form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId
from experts.errors import CapabilityError

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from experts.moe.activations import Activations
    from experts.moe.mask import ExpertMask
    from experts.moe.shape import MoeShape


class Capability(StrEnum):
    """What an engine may be able to do. What it lacks it reports; it never pretends."""

    GENERATE = "generate"
    STREAM = "stream"
    LOGPROBS = "logprobs"
    ALLOWED_TOKENS = "allowed_tokens"
    ADAPTERS = "adapters"
    EMBED = "embed"
    LAYERS = "layers"
    HIDDEN_STATES = "hidden_states"
    EXTEND_VOCABULARY = "extend_vocabulary"
    EXPERT_MASKS = "expert_masks"
    DEFER = "defer"
    STRUCTURED_OUTPUTS = "structured_outputs"


@dataclass(frozen=True)
class EngineInfo:
    """Facts about the model behind an engine.

    Attributes:
        fingerprint: hash of the model's weights and configuration; equal files give equal fingerprints.
        parameters: number of weights.
        activated_parameters: weights used per generated token (fewer than ``parameters`` in a mixture of experts).
        context_length: prompt plus answer, in tokens.
        end_ids: the tokens that end an answer by themselves, sorted.
        added_ids: the tokens that the model's files do not have: ``Engine.extend_vocabulary`` added them.
    """

    model: str
    fingerprint: str
    parameters: int
    activated_parameters: int
    vocabulary_size: int
    context_length: int
    end_ids: tuple[TokenId, ...] = ()
    added_ids: frozenset[TokenId] = frozenset()


class Engine(Protocol):
    """Runs one model.

    Methods may be called concurrently from one event loop; an engine batches what it can. Errors are
    ``experts.errors.EngineError`` and its kinds.
    """

    @property
    def info(self) -> EngineInfo: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def token_id(self, token: str) -> TokenId | None:
        """The id of a special token, or None if the vocabulary has no such token."""
        ...

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Token ids of plain text: special tokens in it stay plain characters, and none are added."""
        ...

    def decode(self, token_ids: Sequence[TokenId], *, plain: bool = False) -> str:
        """The text of token ids; special tokens are included unless it is to be ``plain``."""
        ...

    def render(self, request: GenerateRequest) -> tuple[TokenId, ...]:
        """The exact prompt of a request: its ``prompt_ids`` or its messages through the chat template, then forced ids."""
        ...

    async def generate(self, request: GenerateRequest) -> Generation: ...

    def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        """Like ``generate``, piece by piece. Closing the iterator early stops the generation."""
        ...

    async def embed(self, texts: Sequence[str], layers: bool = False) -> NDArray[float32]:
        """Sentence vectors, float32 [len(texts), width], of unit length.

        With ``layers`` (the capability of that name) a row is [layers * width]: the unit vectors of the embeddings and
        of each layer side by side, the sentence vector itself last, all from one forward pass.
        """
        ...

    async def hidden_states(self, requests: Sequence[GenerateRequest]) -> NDArray[float32]:
        """The last layer's final (normalised) hidden state at the last prompt position, float32 [n, width]."""
        ...

    async def extend_vocabulary(
        self, rows: Mapping[str, NDArray[float32]], like: Mapping[str, Sequence[TokenId]] | None = None
    ) -> None:
        """Adds special tokens whose output rows are given, float32 [width] each; known ones get the new row.

        A token that was added exists only for requests that name it, in ``first_token_ids``, ``allowed_token_ids``,
        ``stop_token_ids`` or ``logit_bias``: others are answered as if there were no such token.

        Where ``like`` names tokens that a new one resembles, it enters the model as the mean of their input embeddings,
        else as the mean of all.
        """
        ...

    async def moe_shape(self) -> MoeShape:
        """What masks of experts have to fit: the layers of the model that have experts."""
        ...

    async def set_masks(self, masks: Mapping[str, ExpertMask]) -> None:
        """Replaces all masks of experts, by the names by which requests call them (``NO_MASK`` is none).

        Raises:
            MaskError: one does not fit the model; then none is replaced.
        """
        ...

    async def activations(self, requests: Sequence[GenerateRequest]) -> list[Activations]:
        """Which experts the tokens of each request's prompt choose, under its mask; nothing is generated.

        A mask that was set for a running server and everybody, behind the engine's back, takes no part.
        """
        ...

    async def close(self) -> None:
        """Frees what the engine holds; a second call does nothing."""
        ...


def require(engine: Engine, *capabilities: Capability) -> None:
    """Raises CapabilityError unless the engine has all of them."""
    missing = sorted(set(capabilities) - engine.capabilities)
    if missing:
        raise CapabilityError(
            f"expected an engine that can {', '.join(missing)}; {engine.info.model} can only "
            f"{', '.join(sorted(engine.capabilities))}. Choose another engine for this worker in the spec"
        )
