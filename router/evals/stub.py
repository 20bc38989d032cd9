"""A stand-in for a vLLM server that answers at once, to measure what stands in front of one.

``python -m router.evals.stub --port 9000 --model NAME --tokens 5,6,7`` speaks ``/v1/completions`` with token ids, as
``engine: vllm`` asks for it, and ``/v1/chat/completions`` for others. It reads of a request only whether it streams.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import httptools

TEXT = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwx"  # one token each for a model that writes characters
_DONE = b"data: [DONE]\n\n"


class Answers:
    """The responses, made once."""

    def __init__(self, model: str, tokens: Sequence[int]) -> None:
        model_card = {"id": model, "object": "model", "max_model_len": 100_000}
        self.models = _whole({"object": "list", "data": [model_card]})
        self.health = _whole({})
        completion = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": model}
        chat = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        self.completion = _whole({**completion, "choices": [_choice((tokens[0], tokens[-1]), "stop")], "usage": usage})
        message = {"role": "assistant", "content": TEXT[:1]}
        self.chat = _whole(
            {**chat, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        )
        last = len(tokens) - 1
        self.completion_stream = _stream(
            {**completion, "choices": [_choice((token,), "stop" if place == last else None)]}
            for place, token in enumerate(tokens)
        )
        chunk = {**chat, "object": "chat.completion.chunk"}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": char} for char in TEXT)]
        self.chat_stream = _stream(
            [
                *({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas),
                {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            ]
        )

    def to(self, path: bytes, body: bytes) -> bytes:
        """The response to a request."""
        streams = b'"stream":true' in body or b'"stream": true' in body
        match path:
            case b"/v1/completions":
                return self.completion_stream if streams else self.completion
            case b"/v1/chat/completions":
                return self.chat_stream if streams else self.chat
            case b"/v1/models":
                return self.models
        return self.health


class Connection(asyncio.Protocol):
    """One client's requests, one after the other."""

    def __init__(self, answers: Answers) -> None:
        self._answers, self._path, self._body = answers, b"", b""
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._path = self._body = b""

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._path += url

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._transport.write(self._answers.to(self._path, self._body))


def _choice(tokens: Sequence[int], reason: str | None) -> dict[str, Any]:
    logprobs = {
        "tokens": [f"token_id:{token}" for token in tokens], "token_logprobs": [-0.1] * len(tokens),
        "top_logprobs": [{f"token_id:{token}": -0.1} for token in tokens], "text_offset": [0] * len(tokens),
    }  # fmt: skip
    return {"index": 0, "text": "", "token_ids": list(tokens), "logprobs": logprobs, "finish_reason": reason}


def _whole(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(content) + content


def _stream(events: Any) -> bytes:
    parts = [b"data: %b\n\n" % json.dumps(event).encode() for event in events] + [_DONE]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def _serve(port: int, answers: Answers) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(answers), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """The command line."""
    import uvloop

    parser = argparse.ArgumentParser(description="Answer like a vLLM server, at once.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument(
        "--tokens", required=True, help="token ids of a streamed answer, the end token last, with commas"
    )
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.port, Answers(arguments.model, [int(token) for token in arguments.tokens.split(",")])))


if __name__ == "__main__":
    main()
