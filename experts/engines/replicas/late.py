"""A replica that was not there when the others were connected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from experts.engines.base import Capability, Engine, EngineInfo
from experts.engines.partial import PartialEngine
from experts.engines.replicas.agreement import check_same_model
from experts.engines.replicas.probe import Probe
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId
from experts.errors import EngineUnavailable

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from experts.moe.activations import Activations
    from experts.moe.mask import ExpertMask
    from experts.moe.shape import MoeShape


class LateEngine(PartialEngine):
    """Unavailable until ``healthy``, which connects it, finds it there and of the same model as a replica of it.

    Args:
        connect: makes the engine; raises EngineError while it cannot.
        like: the replica, which also answers what needs no server.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[Engine]], like: Engine) -> None:
        self._name = name
        self._connect = connect
        self._like = like
        self._connecting: asyncio.Task[Engine] | None = None
        self._engine: Engine | None = None
        self._masks: dict[str, ExpertMask] = {}

    @property
    def info(self) -> EngineInfo:
        return self._like.info

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._like.capabilities

    def token_id(self, token: str) -> TokenId | None:
        return self._like.token_id(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        return self._like.encode(text)

    def decode(self, token_ids: Sequence[TokenId], *, plain: bool = False) -> str:
        return self._like.decode(token_ids, plain=plain)

    def render(self, request: GenerateRequest) -> tuple[TokenId, ...]:
        return self._like.render(request)

    async def healthy(self) -> bool:
        """Whether it is there. Connecting goes on after this returns, as it may take longer than a probe may.

        Raises:
            EngineError: it cannot be connected, or is another model.
        """
        if self._engine is None:
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._join(), name=f"connect {self._name}")
            if not self._connecting.done():
                return False
            task, self._connecting = self._connecting, None
            engine = task.result()
            if self._masks:
                await engine.set_masks(self._masks)
            self._engine = engine
        return not isinstance(self._engine, Probe) or await self._engine.healthy()

    async def generate(self, request: GenerateRequest) -> Generation:
        return await self._there().generate(request)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        async with aclosing(self._there().stream(request)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk

    async def embed(self, texts: Sequence[str], layers: bool = False) -> NDArray[float32]:
        return await self._there().embed(texts, layers)

    async def hidden_states(self, requests: Sequence[GenerateRequest]) -> NDArray[float32]:
        return await self._there().hidden_states(requests)

    async def moe_shape(self) -> MoeShape:
        return await self._like.moe_shape()

    async def set_masks(self, masks: Mapping[str, ExpertMask]) -> None:
        """Until it is there, the replica says whether they fit."""
        await (self._engine or self._like).set_masks(masks)
        self._masks = dict(masks)

    async def activations(self, requests: Sequence[GenerateRequest]) -> list[Activations]:
        return await self._there().activations(requests)

    async def close(self) -> None:
        if self._connecting:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
            if not self._connecting.cancelled() and not self._connecting.exception():
                self._engine = self._connecting.result()
            self._connecting = None
        if self._engine:
            await self._engine.close()

    async def _join(self) -> Engine:
        engine = await self._connect()
        try:
            check_same_model({"the others": self._like, self._name: engine})
        except BaseException:  # also when cancelled: nobody else knows of this engine
            await engine.close()
            raise
        return engine

    def _there(self) -> Engine:
        if self._engine is None:
            raise EngineUnavailable(f"expected a server at {self._name}, found none yet. It is used once it is there")
        return self._engine
