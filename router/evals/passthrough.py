"""The least that a gateway can be, as a yardstick: Starlette takes a request, httpx passes it on."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


def create_app(upstream: str) -> Starlette:
    """The application."""
    client = httpx.AsyncClient(base_url=upstream, limits=httpx.Limits(max_connections=None), timeout=60)

    async def chat(request: Request) -> Response:
        body = await request.body()
        headers = {"content-type": "application/json"}
        asked = client.build_request("POST", "/v1/chat/completions", content=body, headers=headers)
        if b'"stream":true' not in body:
            answer = await client.send(asked)
            return Response(answer.content, answer.status_code, media_type="application/json")
        stream = await client.send(asked, stream=True)

        async def pieces() -> AsyncIterator[bytes]:
            async with contextlib.aclosing(stream):
                async for piece in stream.aiter_raw():
                    yield piece

        return StreamingResponse(pieces(), stream.status_code, media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Pass requests on.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    arguments = parser.parse_args()
    uvicorn.run(create_app(arguments.upstream), port=arguments.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
