"""Sessions on one vLLM server with tokengraph's plugin: it keeps keys and values between the requests of each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from weakref import WeakSet, finalize

from pydantic import BaseModel, ConfigDict

from experts.engines.requests import Session
from experts.engines.vllm.transport import PLUGIN, Transport
from experts.engines.vllm.wire import SESSION_ARGUMENT
from experts.errors import EngineError


class _Ended(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ServerSessions:
    """Names sessions to the server, and tells it when nobody can continue one any more."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._named: WeakSet[Session] = WeakSet()
        self._telling: set[asyncio.Task[None]] = set()

    def arguments(self, session: Session | None) -> dict[str, str | int | float]:
        """What a request carries as ``vllm_xargs``."""
        if session is None:
            return {}
        if session not in self._named:
            self._named.add(session)
            # The object may go in any thread, and after the event loop.
            finalize(session, self._gone, session.name, asyncio.get_running_loop()).atexit = False
        return {SESSION_ARGUMENT: session.name}

    def _gone(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed: so are its connections
            loop.call_soon_threadsafe(self._tell, name)

    def _tell(self, name: str) -> None:
        telling = asyncio.get_running_loop().create_task(self._end(name))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _end(self, name: str) -> None:
        with suppress(EngineError):  # the server ends sessions that nobody continues by itself, only later
            await self._transport.delete(f"{PLUGIN}/sessions/{name}", _Ended)
