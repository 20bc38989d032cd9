"""What an engine answers to a call that it has no capability for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from experts.engines.base import Capability, EngineInfo
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId
from experts.errors import CapabilityError

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from experts.moe.activations import Activations
    from experts.moe.mask import ExpertMask
    from experts.moe.shape import MoeShape


class PartialEngine:
    """Base of engines: every optional method raises CapabilityError until a subclass overrides it."""

    @property
    def info(self) -> EngineInfo:
        raise NotImplementedError

    @property
    def capabilities(self) -> frozenset[Capability]:
        raise NotImplementedError

    def _lack(self, capability: Capability) -> NoReturn:
        raise CapabilityError(
            f"expected an engine that can {capability}; {self.info.model} can only "
            f"{', '.join(sorted(self.capabilities))}. Choose another engine for this worker in the spec"
        )

    def render(self, request: GenerateRequest) -> tuple[TokenId, ...]:
        self._lack(Capability.GENERATE)

    async def generate(self, request: GenerateRequest) -> Generation:
        self._lack(Capability.GENERATE)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        self._lack(Capability.STREAM)
        yield  # makes this an async generator, like the methods that override it

    async def embed(self, texts: Sequence[str], layers: bool = False) -> NDArray[float32]:
        self._lack(Capability.LAYERS if layers else Capability.EMBED)

    async def hidden_states(self, requests: Sequence[GenerateRequest]) -> NDArray[float32]:
        self._lack(Capability.HIDDEN_STATES)

    async def extend_vocabulary(
        self, rows: Mapping[str, NDArray[float32]], like: Mapping[str, Sequence[TokenId]] | None = None
    ) -> None:
        self._lack(Capability.EXTEND_VOCABULARY)

    async def moe_shape(self) -> MoeShape:
        self._lack(Capability.EXPERT_MASKS)

    async def set_masks(self, masks: Mapping[str, ExpertMask]) -> None:
        self._lack(Capability.EXPERT_MASKS)

    async def activations(self, requests: Sequence[GenerateRequest]) -> list[Activations]:
        self._lack(Capability.EXPERT_MASKS)

    async def close(self) -> None:
        """Holds nothing that needs freeing."""
