"""Engines that cannot be had for real: they show what they were asked, fail in the middle, or are slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np

from experts.engines.base import Capability
from experts.engines.config import ScriptedWorker
from experts.engines.requests import Chunk, GenerateRequest
from experts.engines.scripted import ScriptedEngine
from experts.errors import EngineUnavailable
from tests.router.runtime.graphs import says


class Recording(ScriptedEngine):
    """Remembers its requests."""

    def __init__(self) -> None:
        super().__init__(ScriptedWorker.model_validate(says("answer")))
        self.requests: list[GenerateRequest] = []

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        self.requests.append(request)
        async for chunk in super().stream(request):
            yield chunk


class BreaksOff(ScriptedEngine):
    """Fails after the first words."""

    def __init__(self) -> None:
        super().__init__(ScriptedWorker.model_validate(says("half an answer")))

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        yield Chunk("half an ", self.encode("h"))
        yield Chunk("a", self.encode("a"))
        raise EngineUnavailable("the connection broke off")


class Slow(ScriptedEngine):
    """Writes a token every few milliseconds, an answer without end."""

    def __init__(self) -> None:
        super().__init__(ScriptedWorker.model_validate(says("so slow " * 10_000)))

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        async for chunk in super().stream(request):
            await asyncio.sleep(0.005)
            yield chunk


class Encoder(ScriptedEngine):
    """Embeds after a while; cannot if the text says so."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(ScriptedWorker.model_validate(says("x")))
        self._seconds = seconds

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.EMBED})

    async def embed(self, texts: Sequence[str], layers: bool = False) -> Any:
        await asyncio.sleep(self._seconds)
        if "broken" in texts:
            raise EngineUnavailable("the worker is down")
        return np.eye(len(texts), 4, dtype=np.float32)
