"""``POST /v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from experts.engines.requests import Message, ToolCall
from router.gateway.affinity import keys_after, keys_before
from router.gateway.answered import Form, answered
from router.gateway.chat_stream import ChatStream
from router.gateway.dialogue import asks_of, messages_of
from router.gateway.gateway import Call
from router.gateway.own_calls import alone, approval_of, is_made
from router.gateway.report import chat_logprobs, detail_of, finish_reason, usage_of
from router.gateway.requests import ChatRequest, read
from router.gateway.responses import AssistantMessage, ChatChoice, ChatCompletion
from router.gateway.runs import Ask, run_all
from router.gateway.sse import send_events
from router.runtime.result import RunResult


async def chat(call: Call) -> None:
    """Answers a dialogue, whole or as a stream."""
    request = read(ChatRequest, call.body)
    call.deployment.node(request.model)  # raises unless the model exists
    call.model, call.operation = request.model, "chat"
    approval = approval_of(request.messages)
    messages = messages_of(request.messages)
    decides, affinity = call.deployment.decides, call.gateway.affinity
    course = affinity.course(keys_before(call.scope, messages, request.session, request.user) if decides else ())
    async with call.in_time():
        asks = await asks_of(call, request, messages, course, approval)
    form = Form(reads_calls=bool(asks[0].options.tools), shows_calls=bool(request.show_tool_calls))

    def note(results: list[RunResult]) -> None:
        if decides and results[0].pending is None:
            answer = answered(results[0], form)
            turn = Message("assistant", answer["content"] or "", _called(answer))
            affinity.remember(keys_after(call.scope, messages, turn, request.session, request.user), results[0])

    with alone(call.gateway.going, None if approval is None else asks[0].thread):
        if request.stream:
            await send_events(call.exchange, partial(_stream, call, request, asks, form, note))
        else:
            results = await run_all(call, asks)
            note(results)
            await call.exchange.reply(200, _completion(call, request, results, form))


async def _stream(
    call: Call, request: ChatRequest, asks: list[Ask], form: Form, note: Callable[[list[RunResult]], None],
    put: Callable[[object], None],
) -> None:  # fmt: skip
    stream = ChatStream(put, call, form, logprobs=bool(request.logprobs))
    results = await run_all(call, asks, [partial(stream.send, place) for place in range(len(asks))])
    note(results)
    usage = request.stream_options is not None and request.stream_options.include_usage
    stream.finish(results, usage=usage)


def _completion(call: Call, request: ChatRequest, results: list[RunResult], form: Form) -> ChatCompletion:
    return {
        "id": f"chatcmpl-{call.exchange.request_id}",
        "object": "chat.completion",
        "created": call.created,
        "model": request.model,
        "choices": [
            _choice(place, result, form, logprobs=bool(request.logprobs)) for place, result in enumerate(results)
        ],
        "usage": usage_of(call.visits),
        "tokengraph": detail_of(call.exchange.request_id, results),
    }


def _choice(place: int, result: RunResult, form: Form, *, logprobs: bool) -> ChatChoice:
    message = answered(result, form)
    waits = any(not is_made(entry["id"]) for entry in message.get("tool_calls", ()))
    return {
        "index": place,
        "message": message,
        "logprobs": chat_logprobs(result) if logprobs else None,
        "finish_reason": "tool_calls" if waits else finish_reason(result),
    }


def _called(message: AssistantMessage) -> tuple[ToolCall, ...]:
    calls = [call for call in message.get("tool_calls", ()) if not is_made(call["id"])]
    return tuple(ToolCall(call["function"]["name"], {}) for call in calls)
