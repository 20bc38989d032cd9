"""A server that speaks the part of vLLM's protocol that generation needs, and answers with the prompt's own tokens.

    python -m tests.experts.engines.replicas.stub_vllm PORT MODEL SECONDS

SECONDS is the time for one token. Token n of the answer is token n of the prompt, from its end backwards, so that an
answer shows which request it belongs to.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from itertools import cycle, islice
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


def app(model: str, seconds: float) -> Starlette:
    async def models(_: Request) -> JSONResponse:
        return JSONResponse({"data": [{"id": model, "max_model_len": 512}]})

    async def health(_: Request) -> Response:
        return Response()

    async def completions(request: Request) -> Response:
        body = await request.json()
        tokens = list(islice(cycle(reversed(body["prompt"])), body["max_tokens"]))
        if body["stream"]:
            return StreamingResponse(events(tokens), media_type="text/event-stream")
        await asyncio.sleep(seconds * len(tokens))
        return JSONResponse(completion(tokens))

    async def events(tokens: list[int]) -> AsyncIterator[str]:
        for token in tokens:
            await asyncio.sleep(seconds)
            yield f"data: {json.dumps(completion([token]))}\n\n"
        yield "data: [DONE]\n\n"

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/health", health),
            Route("/v1/completions", completions, methods=["POST"]),
        ]
    )


def completion(tokens: list[int]) -> dict[str, Any]:
    logprobs = {
        "token_logprobs": [-0.5] * len(tokens),
        "top_logprobs": [{f"token_id:{token}": -0.5} for token in tokens],
    }
    return {"choices": [{"token_ids": tokens, "logprobs": logprobs}]}


if __name__ == "__main__":
    port, name, per_token = sys.argv[1:]
    uvicorn.run(app(name, float(per_token)), host="127.0.0.1", port=int(port), log_level="warning")
