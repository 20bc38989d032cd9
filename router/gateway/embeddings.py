"""``POST /v1/embeddings``: the encoders among a graph's nodes."""

from __future__ import annotations

import base64

from router.errors import EngineError
from router.gateway.gateway import Call
from router.gateway.requests import EmbeddingRequest, read
from router.gateway.responses import EmbeddingList


async def embeddings(call: Call) -> None:
    """Turns texts into vectors."""
    request = read(EmbeddingRequest, call.body)
    worker = call.deployment.encoder(request.model)
    call.model, call.operation = request.model, "embeddings"
    texts = [request.input] if isinstance(request.input, str) else request.input
    async with call.in_time():
        engine = await call.deployment.router.engine(worker)
        tokens = sum(len(engine.encode(text)) for text in texts)
        call.embedded = tokens  # from here on, also if the client does not wait for the vectors
        try:
            vectors = await engine.embed(texts)
        except EngineError:
            call.embedded = 0
            raise
    body: EmbeddingList = {
        "object": "list",
        "model": request.model,
        "data": [
            {
                "object": "embedding", "index": place,
                "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
                if request.encoding_format == "base64" else vector.tolist(),
            }
            for place, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
    }  # fmt: skip
    await call.exchange.reply(200, body)
