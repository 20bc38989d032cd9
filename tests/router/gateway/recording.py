"""Engines that cannot be had for real: one that shows what it was asked, one that fails in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator

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
        yield Chunk("half an ")
        yield Chunk("a")
        raise EngineUnavailable("the connection broke off")
