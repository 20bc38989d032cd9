"""What each failure of a server means. The server is a stand-in: a real vLLM does not fail on demand."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from experts.engines.config import VllmWorker
from experts.engines.requests import GenerateRequest, TokenId
from experts.engines.vllm.engine import VllmEngine
from experts.errors import DeadlineExceeded, EngineError, EngineOverloaded, EngineUnavailable, RequestError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ASK = GenerateRequest(prompt_ids=(TokenId(7),), max_tokens=3, ignore_eos=True)
BROKEN = GenerateRequest(prompt_ids=(TokenId(7),), max_tokens=3, stop=("\x00",))


@pytest.fixture
def worker(checkpoints: dict[str, Path]) -> VllmWorker:
    return VllmWorker(engine="vllm", model=str(checkpoints["qwen3"]))


@asynccontextmanager
async def answering(worker: VllmWorker, handler: Handler) -> AsyncIterator[VllmEngine]:
    """A server that lists the model; ``handler`` answers all else."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": worker.model, "max_model_len": 256}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        engine = await VllmEngine.connect(worker, str(server.make_url("/")))
        try:
            yield engine
        finally:
            await engine.close()


def plain(status: int, message: str, headers: dict[str, str] | None = None) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": message, "code": status}}, status=status, headers=headers)

    return answer


def piece(*tokens: int) -> str:
    choice = {
        "token_ids": tokens,
        "logprobs": {"token_logprobs": [-1.0] * len(tokens), "top_logprobs": [{}] * len(tokens)},
    }
    return json.dumps({"choices": [choice]})


def events(*data: str) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in data:
            await response.write(f"data: {event}\n\n".encode())
        return response

    return answer


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "kind", "named"),
    [
        (400, RequestError, "too long"),
        (403, EngineError, "Correct api_key"),
        (404, EngineError, "answered 404: too long"),
        (500, EngineUnavailable, "answered 500"),
        (503, EngineUnavailable, "answered 503"),
    ],
)
@pytest.mark.parametrize("request_", [ASK, BROKEN])
async def test_status(
    worker: VllmWorker, status: int, kind: type[EngineError], named: str, request_: GenerateRequest
) -> None:
    async with answering(worker, plain(status, "too long")) as engine:
        with pytest.raises(EngineError, match=named) as caught:
            await engine.generate(request_)
        assert type(caught.value) is kind
        assert not await engine.healthy()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"), [(429, "7", 7.0), (429, None, 1.0), (503, "2.5", 2.5), (429, "soon", 1.0)]
)
async def test_overload(worker: VllmWorker, status: int, retry_after: str | None, seconds: float) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    async with answering(worker, plain(status, "busy", headers)) as engine:
        with pytest.raises(EngineOverloaded, match="busy") as caught:
            await engine.generate(ASK)
    assert caught.value.retry_after == seconds


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("data", "kind", "named"),
    [
        ((piece(9),), EngineUnavailable, "broke off"),
        ((piece(9), "[DONE]"), EngineUnavailable, "broke off"),
        ((piece(9), '{"error": {"message": "dead", "code": 500}}'), EngineUnavailable, "dead"),
        ((piece(9), '{"error": {"message": "no", "code": 400}}'), RequestError, "no"),
        ((piece(9), "nonsense"), EngineError, "nonsense"),
    ],
)
async def test_broken_streams(worker: VllmWorker, data: tuple[str, ...], kind: type[EngineError], named: str) -> None:
    async with answering(worker, events(*data)) as engine:
        stream = engine.stream(ASK)
        assert (await anext(stream)).token_ids == (9,)
        with pytest.raises(EngineError, match=named) as caught:
            await anext(stream)
        assert type(caught.value) is kind


@pytest.mark.asyncio
async def test_several_tokens_in_an_event(worker: VllmWorker) -> None:
    async with answering(worker, events(piece(9, 10), piece(), piece(11), "[DONE]")) as engine:
        chunks = [chunk async for chunk in engine.stream(ASK)]
    assert [chunk.token_ids for chunk in chunks] == [(9,), (10,), (11,)]
    assert chunks[-1].generation is not None and chunks[-1].generation.logprobs == (-1.0,) * 3


@pytest.mark.asyncio
async def test_connection_that_breaks(worker: VllmWorker) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"data: ")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with answering(worker, broken) as engine:
        for request in (ASK, BROKEN):
            with pytest.raises(EngineUnavailable, match="expected a vLLM server at"):
                await engine.generate(request)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("choice", "kind", "named"),
    [
        ({"token_ids": [], "finish_reason": "abort"}, EngineUnavailable, "aborted"),
        ({"token_ids": []}, EngineUnavailable, "found none"),
        ({"text": "from elsewhere"}, EngineError, "it is not vLLM"),
        ({"token_ids": [9]}, EngineError, "it is not vLLM"),
    ],
)
@pytest.mark.parametrize("request_", [ASK, replace(ASK, first_token_ids=(TokenId(8),))])
async def test_answers_without_tokens(
    worker: VllmWorker, choice: dict[str, Any], kind: type[EngineError], named: str, request_: GenerateRequest
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"choices": [choice]})

    async with answering(worker, answer) as engine:
        with pytest.raises(EngineError, match=named) as caught:
            await engine.generate(request_)
        assert type(caught.value) is kind


@pytest.mark.asyncio
async def test_server_that_says_nothing(worker: VllmWorker) -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with answering(worker, silent) as engine:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await engine.generate(GenerateRequest(prompt_ids=(TokenId(7),), deadline=started + 0.2))
        assert not await engine.healthy()
        assert time.monotonic() - started < 5


@pytest.mark.asyncio
async def test_no_server(worker: VllmWorker) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(EngineUnavailable, match=f"expected a vLLM server at {url}.*Start it"):
        await VllmEngine.connect(worker, url)


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [{"models": []}, {"data": []}])
async def test_other_servers(worker: VllmWorker, body: Any) -> None:
    async def models(_: web.Request) -> web.Response:
        return web.json_response(body)

    app = web.Application()
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as server:
        with pytest.raises(EngineError, match=r"expected a.* vLLM server"):
            await VllmEngine.connect(worker, str(server.make_url("/")))
