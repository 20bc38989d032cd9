"""HTTP to one vLLM server: the connections, the key, time-outs, and what each failure means.

Requests go to httpx's transport without an httpx client around it. What a client adds (redirects, cookies, merging of
URLs) no vLLM server needs, and it took half the processor time of a request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress
from typing import TypeVar
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic import BaseModel, ValidationError

from experts.engines.checks import deadline_exceeded
from experts.engines.vllm.wire import MASK_ARGUMENT, Fault, FaultBody
from experts.errors import EngineError, EngineOverloaded, EngineUnavailable, RequestError

_EXTENSIONS = {"timeout": {"connect": 5.0}}  # seconds; answers take as long as they take
_HEALTH_SECONDS = 2.0
# vLLM closes a connection that was idle for five seconds. Reusing one at that moment would fail.
_KEEP_ALIVE_SECONDS = 3.0
_RETRY_SECONDS = 1.0
PLUGIN = "/v1/tokengraph"  # where the routes of tokengraph's plugin are
_ADMIN_HEADER = "x-tokengraph-admin"
_EVENT = "data: "
_LAST_EVENT = "[DONE]"

R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")


class UnknownMaskError(RequestError):
    """The server does not have the mask that a request names: it has started again, or needed room for others."""


class Transport:
    """Connections to a server, kept alive and shared by all requests of an event loop.

    How many requests run at once is for others to limit: each gets a connection.

    Args:
        url: of the server, with or without the final ``/v1``.
        api_key: sent with every request.
        admin_token: sent with requests to the routes of tokengraph's plugin.

    Raises:
        EngineUnavailable: the server cannot be reached, breaks off, or reports a failure of its own.
        EngineOverloaded: the server asks to come back later.
        RequestError: the server does not accept the request.
        EngineError: the key is wrong, or the answer is not one of a vLLM server.
        DeadlineExceeded: the deadline has passed; the connection was closed, so that the server stops.
    """

    def __init__(self, url: str, api_key: str | None = None, admin_token: str | None = None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._admin = {} if admin_token is None else {_ADMIN_HEADER: admin_token}
        self._urls: dict[str, httpx.URL] = {}
        self._transports: WeakKeyDictionary[asyncio.AbstractEventLoop, AiohttpTransport] = WeakKeyDictionary()
        self._closed = False

    async def get(self, path: str, answer: type[R]) -> R:
        return self.parsed(await self._wait(self._whole("GET", path)), answer)

    async def post(self, path: str, call: BaseModel, answer: type[R], *, deadline: float | None = None) -> R:
        return self.parsed(await self._wait(self._whole("POST", path, call), deadline), answer)

    async def ask(self, path: str) -> httpx.Response:
        """The whole response to a GET, whatever its status."""
        return await self._wait(self._whole("GET", path))

    async def put(self, path: str, call: BaseModel | None = None) -> None:
        """Puts what needs no answer."""
        self._checked(await self._wait(self._whole("PUT", path, call)))

    async def delete(self, path: str, answer: type[R]) -> R:
        return self.parsed(await self._wait(self._whole("DELETE", path)), answer)

    async def stream(
        self, path: str, call: BaseModel, answer: type[R], *, deadline: float | None = None
    ) -> AsyncGenerator[R, None]:
        """The events of a streamed answer. Closing the iterator closes the connection."""
        response = await self._wait(self._send("POST", path, call), deadline)
        try:
            if response.is_error:
                await self._wait(response.aread(), deadline)
                raise self._fault(response)
            lines = response.aiter_lines()
            while (line := await self._wait(anext(lines, None), deadline)) is not None:
                event = line.removeprefix(_EVENT)
                if event == _LAST_EVENT:
                    return
                if event != line:
                    yield self._event(event, answer)
        finally:
            await response.aclose()

    async def healthy(self) -> bool:
        """Whether the server says that it works, within two seconds."""
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                response = await self._wait(self._whole("GET", "/health"))
        except (EngineUnavailable, TimeoutError):
            return False
        return response.is_success

    async def close(self) -> None:
        self._closed = True
        with suppress(KeyError):
            await self._transports.pop(asyncio.get_running_loop()).aclose()

    async def _whole(self, method: str, path: str, call: BaseModel | None = None) -> httpx.Response:
        response = await self._send(method, path, call)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    async def _send(self, method: str, path: str, call: BaseModel | None) -> httpx.Response:
        """The response as soon as its head is there."""
        url, headers, content = self._urls.get(path), self._headers, None
        if path.startswith(PLUGIN):  # these paths have names in them: there are many
            url, headers = httpx.URL(self.url + path), headers | self._admin
        elif url is None:
            url = self._urls[path] = httpx.URL(self.url + path)
        if call is not None:
            headers = headers | {"Content-Type": "application/json"}
            content = call.model_dump_json(exclude_none=True).encode()
        request = httpx.Request(method, url, headers=headers, content=content, extensions=_EXTENSIONS)
        return await self._transport().handle_async_request(request)

    def _transport(self) -> AiohttpTransport:
        if self._closed:
            raise EngineUnavailable(f"expected an open engine, found the one for {self.url} closed. Start it anew")
        loop = asyncio.get_running_loop()
        if loop not in self._transports:
            self._transports[loop] = AiohttpTransport(client=_session)
        return self._transports[loop]

    async def _wait(self, work: Awaitable[T], deadline: float | None = None) -> T:
        try:
            return await (work if deadline is None else _in_time(work, deadline))
        except (httpx.TransportError, aiohttp.ClientError) as error:
            raise EngineUnavailable(
                f"expected a vLLM server at {self.url}, found: {error or type(error).__name__}. "
                "Start it, or correct the url"
            ) from error

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.is_error:
            raise self._fault(response)
        return response

    def parsed(self, response: httpx.Response, answer: type[R]) -> R:
        """The answer in a response that may also report an error."""
        try:
            return answer.model_validate_json(self._checked(response).content)
        except ValidationError as error:
            raise self._strange(response.text) from error

    def _event(self, event: str, answer: type[R]) -> R:
        try:
            return answer.model_validate_json(event)
        except ValidationError as error:
            try:
                fault = FaultBody.model_validate_json(event).error
            except ValidationError:
                raise self._strange(event) from error
        raise self._error(fault.code or 500, fault, None)

    def _fault(self, response: httpx.Response) -> EngineError:
        try:
            fault = FaultBody.model_validate_json(response.content).error
        except ValidationError:
            fault = Fault(message=response.text[:300] or response.reason_phrase)
        return self._error(response.status_code, fault, response.headers.get("retry-after"))

    def _error(self, status: int, fault: Fault, retry_after: str | None) -> EngineError:
        found = f"{self.url} answered {status}: {fault.message}"
        match status:
            case 400 if fault.param == MASK_ARGUMENT:
                return UnknownMaskError(f"expected a mask of experts that the server has, found: {found}. Set it again")
            case 400 | 413 | 422:
                return RequestError(f"expected a request that the server accepts, found: {found}. Correct the request")
            case 401 | 403:
                return EngineError(f"expected the server's key, found that {found}. Correct api_key in the spec")
            case 409 | 429:  # 409: the plugin has no room for another mask
                return EngineOverloaded(
                    f"expected room for a request, found: {found}. Try later", _seconds(retry_after)
                )
            case 503 if retry_after is not None:
                return EngineOverloaded(
                    f"expected room for a request, found: {found}. Try later", _seconds(retry_after)
                )
            case 500 | 502 | 503 | 504:
                return EngineUnavailable(f"expected a working server, found: {found}. Look into its log")
        return EngineError(f"expected an answer of a vLLM server, found: {found}. Correct the url")

    def _strange(self, text: str) -> EngineError:
        return EngineError(f"expected an answer of a vLLM server at {self.url}, found {text[:200]!r}. Correct the url")


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS))


def _seconds(retry_after: str | None) -> float:
    """The header may also hold a date, which servers of models do not send."""
    try:
        return float(retry_after or _RETRY_SECONDS)
    except ValueError:
        return _RETRY_SECONDS


async def _in_time(work: Awaitable[T], deadline: float) -> T:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await work
    except TimeoutError as error:
        raise deadline_exceeded() from error
