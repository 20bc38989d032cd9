"""An engine whose faults a test turns on and off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from experts.engines.config import Rule, ScriptedWorker
from experts.engines.playback import Script
from experts.engines.requests import Chunk, GenerateRequest, Message
from experts.engines.scripted import ScriptedEngine
from experts.errors import EngineUnavailable

ANSWER = "the quick brown fox"


class SwitchableEngine(ScriptedEngine):
    """A scripted engine that can be down, break in the middle of a stream, or hold its answers back.

    Attributes:
        up: whether it answers; ``healthy`` says so.
        error: what it raises while it is down.
        breaks_after: a stream breaks after so many chunks.
        gate: it answers once this is set.
        asked: requests that came.
        running: requests that are being answered.
        cancelled: requests that were cancelled meanwhile.
        probes: how often its health was asked for.
    """

    def __init__(self, answer: str = ANSWER) -> None:
        tokens = ("<node_0>", "<node_1>")
        super().__init__(ScriptedWorker(engine="scripted", rules=(Rule(answer=answer, logprob=-0.5),), tokens=tokens))
        self.up = True
        self.error: Exception = EngineUnavailable("it is down")
        self.breaks_after: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = self.running = self.cancelled = 0
        self.probes = 0
        self.closed = False

    async def healthy(self) -> bool:
        self.probes += 1
        return self.up

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        given = 0
        async for chunk in super().stream(request):
            if given == self.breaks_after:
                raise self.error
            given += 1
            yield chunk

    async def close(self) -> None:
        self.closed = True

    async def _script(self, request: GenerateRequest) -> Script:
        self.asked += 1
        self.running += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if not self.up:
            raise self.error
        return await super()._script(request)


def ask(text: str = "hello", **changes: object) -> GenerateRequest:
    return GenerateRequest(messages=(Message("user", text),), **changes)  # type: ignore[arg-type]
