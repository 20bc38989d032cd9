"""``POST /v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from experts.engines.requests import Message, ToolCall
from router.gateway.affinity import keys_after, keys_before
from router.gateway.chat_stream import ChatStream
from router.gateway.dialogue import asks_of, messages_of
from router.gateway.gateway import Call
from router.gateway.report import chat_logprobs, detail_of, finish_reason, usage_of
from router.gateway.requests import ChatRequest, read
from router.gateway.responses import AssistantMessage, ChatChoice, ChatCompletion, ToolCallEntry
from router.gateway.runs import Ask, run_all
from router.gateway.sse import send_events
from router.gateway.tool_calls import ToolCallReader
from router.runtime.result import RunResult


async def chat(call: Call) -> None:
    """Answers a dialogue, whole or as a stream."""
    request = read(ChatRequest, call.body)
    call.deployment.node(request.model)  # raises unless the model exists
    call.model, call.operation = request.model, "chat"
    messages = messages_of(request.messages)
    decides, affinity = call.deployment.decides, call.gateway.affinity
    course = affinity.course(keys_before(call.scope, messages, request.session, request.user) if decides else ())
    asks = await asks_of(call, request, messages, course)

    def note(results: list[RunResult]) -> None:
        call.finish(results)
        if decides:
            answer = answered(results[0], reads_calls=bool(asks[0].options.tools))
            turn = Message("assistant", answer["content"] or "", _called(answer))
            affinity.remember(keys_after(call.scope, messages, turn, request.session, request.user), results[0])

    if request.stream:
        await send_events(call.exchange, partial(_stream, call, request, asks, note))
    else:
        results = await run_all(call.deployment.router, asks)
        note(results)
        await call.exchange.reply(200, _completion(call, request, results, asks))


async def _stream(
    call: Call, request: ChatRequest, asks: list[Ask], note: Callable[[list[RunResult]], None],
    put: Callable[[object], None],
) -> None:  # fmt: skip
    stream = ChatStream(put, call, reads_calls=bool(asks[0].options.tools), logprobs=bool(request.logprobs))
    results = await run_all(call.deployment.router, asks, [partial(stream.send, place) for place in range(len(asks))])
    note(results)
    usage = request.stream_options is not None and request.stream_options.include_usage
    stream.finish(results, usage=usage)


def _completion(call: Call, request: ChatRequest, results: list[RunResult], asks: list[Ask]) -> ChatCompletion:
    tools = bool(asks[0].options.tools)
    return {
        "id": f"chatcmpl-{call.exchange.request_id}",
        "object": "chat.completion",
        "created": call.created,
        "model": request.model,
        "choices": [
            _choice(place, result, tools=tools, logprobs=bool(request.logprobs)) for place, result in enumerate(results)
        ],
        "usage": usage_of(event for result in results for event in result.events),
        "tokengraph": detail_of(call.exchange.request_id, results),
    }


def _choice(place: int, result: RunResult, *, tools: bool, logprobs: bool) -> ChatChoice:
    message = answered(result, reads_calls=tools)
    return {
        "index": place,
        "message": message,
        "logprobs": chat_logprobs(result) if logprobs else None,
        "finish_reason": "tool_calls" if "tool_calls" in message else finish_reason(result),
    }


def answered(result: RunResult, *, reads_calls: bool) -> AssistantMessage:
    """The answer as a turn; calls of tools are read from its text if there were tools to call."""
    if not reads_calls:
        return {"role": "assistant", "content": result.answer}
    reader = ToolCallReader()
    pieces = [*reader.push(result.answer), *reader.finish()]
    calls: list[ToolCallEntry] = [
        {"id": piece["id"], "type": "function", "function": piece["function"]}
        for piece in pieces
        if not isinstance(piece, str)
    ]
    text = "".join(piece for piece in pieces if isinstance(piece, str)).strip()
    if calls:
        return {"role": "assistant", "content": text or None, "tool_calls": calls}
    return {"role": "assistant", "content": text}


def _called(message: AssistantMessage) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(call["function"]["name"], {}) for call in message.get("tool_calls", ()))
