"""Asks a server as fast as it answers: a client that costs little, so that the server is what is measured."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass
from typing import cast

import httptools


@dataclass(frozen=True)
class Load:
    """What was measured.

    Attributes:
        rate: responses per second.
        median: seconds from a request to the end of its response.
        failed: responses that were no 200, or streams without their ``[DONE]``.
    """

    rate: float
    median: float
    failed: int


async def load(url: str, model: str, *, total: int, concurrency: int, stream: bool) -> Load:
    """Sends ``total`` chat requests, ``concurrency`` at a time, each over a connection that is kept.

    Args:
        url: of the server, ``http://HOST:PORT``.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    question = [{"role": "user", "content": "what is 347 plus 589?"}]
    asked = {"model": model, "messages": question, "stream": stream, "max_tokens": 64}
    body = json.dumps(asked, separators=(",", ":")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    request = f"{head}authorization: Bearer none\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    left = total
    times: list[float] = []
    failed = 0

    async def work() -> None:
        nonlocal left, failed
        _, client = await asyncio.get_running_loop().create_connection(_Client, host, int(port))
        while left > 0:
            left -= 1
            started = time.perf_counter()
            good = await client.ask(request, stream=stream)
            times.append(time.perf_counter() - started)
            failed += not good
        client.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return Load(total / (time.perf_counter() - started), statistics.median(times), failed)


class _Client(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes, *, stream: bool) -> bool:
        """Whether the response was as it should be."""
        self._parser = httptools.HttpResponseParser(self)
        self._end = b""
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answered
        return self._parser.get_status_code() == 200 and (not stream or b"[DONE]" in self._end)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._end = body

    def on_message_complete(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)
