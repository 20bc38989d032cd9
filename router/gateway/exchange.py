"""One HTTP request and its response: headers, body, the client's hanging up."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar
from uuid import uuid4

import orjson
from starlette.types import Receive, Scope, Send

from router.gateway.errors import ClientGone, Refused

T = TypeVar("T")

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Exchange:
    """A request as it is answered.

    Attributes:
        request_id: the client's own ``x-request-id``, or a new one.
        status: of the response, 0 before it starts; 499 if the client hung up.
        said: for the log: fields that the endpoint found out.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.parameters: Mapping[str, str] = scope.get("path_params", {})
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = self._request_id()
        self.started = time.perf_counter()
        self.status = 0
        self.said: dict[str, Any] = {}
        self.response_headers: dict[str, str] = {"x-request-id": self.request_id}
        self._receive, self._send = receive, send
        self._gone = self._ended = False

    def header(self, name: str) -> str:
        """A header of the request; empty if there is none."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    async def body(self, longest: int) -> bytes:
        """The request's body, at most so many bytes.

        Raises:
            Refused: it is longer.
            ClientGone: the client hung up before its end.
        """
        parts: list[bytes] = []
        length = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > longest:
                raise Refused(f"expected a body of at most {longest} bytes, found a longer one. Shorten it", status=413)
            if not message.get("more_body"):
                return b"".join(parts)

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """Does the work; if the client hangs up, the work is cancelled at once.

        Raises:
            ClientGone: the client hung up.
        """
        task = asyncio.current_task()
        assert task is not None
        watcher = asyncio.ensure_future(self._watch(task))
        try:
            return await work
        except asyncio.CancelledError:
            if self._gone and task.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            watcher.cancel()

    async def reply(self, status: int, body: object, content_type: str = "application/json") -> None:
        """The whole response; ``body`` is JSON data, or bytes as they are."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        await self._start(status, content_type, len(content))
        self._ended = True
        await self._send({"type": "http.response.body", "body": content})

    async def part(self, content: bytes, *, last: bool = False) -> None:
        """A piece of an event stream; the first one starts the response."""
        if not self.status:
            self.response_headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
            await self._start(200, "text/event-stream; charset=utf-8", None)
        self._ended = last
        await self._send({"type": "http.response.body", "body": content, "more_body": not last})

    async def _start(self, status: int, content_type: str, length: int | None) -> None:
        self.status = status
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in self.response_headers.items()]
        headers.append((b"content-type", content_type.encode()))
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._ended:  # the server also says so after a whole response
            self._gone = True
            task.cancel()

    def _request_id(self) -> str:
        asked = self.header("x-request-id")
        return asked if _REQUEST_ID.fullmatch(asked) else uuid4().hex
