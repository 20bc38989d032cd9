"""``POST /v1/completions``: a node goes on with a prompt; the graph takes it for a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from experts.engines.requests import TokenId
from router.errors import RequestError
from router.gateway.dialogue import with_seeds
from router.gateway.gateway import Call
from router.gateway.live import LiveAnswer
from router.gateway.report import completion_logprobs, detail_of, finish_reason, usage_of
from router.gateway.requests import CompletionRequest, read
from router.gateway.responses import Completion, CompletionLogprobs, FinishReason
from router.gateway.runs import Ask, run_all
from router.gateway.sse import send_events
from router.runtime.query import Prompt
from router.runtime.result import RunResult
from router.runtime.router import RunOptions

_MOST_RUNS = 128


async def completions(call: Call) -> None:
    """Completes prompts, whole or as a stream."""
    request = read(CompletionRequest, call.body)
    asks = _asks(call, request)
    call.model, call.operation = request.model, "text_completion"
    if request.stream:
        await send_events(call.exchange, partial(_stream, call, request, asks))
        return
    results = await run_all(call, asks)
    body = _head(call)
    for place, result in enumerate(results):
        logprobs = None if request.logprobs is None else completion_logprobs(result)
        body["choices"].append(
            {"index": place, "text": result.answer, "logprobs": logprobs, "finish_reason": finish_reason(result)}
        )
    await call.exchange.reply(200, _tail(call, body, results, usage=True))


async def _stream(call: Call, request: CompletionRequest, asks: list[Ask], put: Callable[[object], None]) -> None:
    def chunk(
        place: int, text: str, reason: FinishReason | None = None, logprobs: CompletionLogprobs | None = None
    ) -> Completion:
        body = _head(call)
        body["choices"] = [{"index": place, "text": text, "logprobs": logprobs, "finish_reason": reason}]
        return body

    def write(place: int, text: str) -> None:
        put(chunk(place, text))

    choices = [LiveAnswer(partial(write, place)) for place in range(len(asks))]
    results = await run_all(call, asks, [choice.push for choice in choices])
    usage = request.stream_options is not None and request.stream_options.include_usage
    for place, (choice, result) in enumerate(zip(choices, results, strict=True)):
        choice.finish(result.answer)
        last = chunk(
            place, "", finish_reason(result), None if request.logprobs is None else completion_logprobs(result)
        )
        put(last if usage or place < len(results) - 1 else _tail(call, last, results, usage=False))
    if usage:  # a chunk without choices: only who asks for it expects one
        put(_tail(call, _head(call), results, usage=True))


def _asks(call: Call, request: CompletionRequest) -> list[Ask]:
    node = call.deployment.node(request.model)
    call.deployment.check_mask(request.expert_mask, node)
    prompts = [_prompt(prompt) for prompt in _prompts(request)]
    if node is None and any(prompt.token_ids is not None for prompt in prompts):
        raise RequestError(
            f"expected a text as the prompt for the whole graph, found token ids. Ask a node: {request.model}/NODE"
        )
    n = request.n or 1
    if n * len(prompts) > _MOST_RUNS:
        raise RequestError(f"expected at most {_MOST_RUNS} completions, found {n * len(prompts)}. Send fewer prompts")
    options = RunOptions(
        max_tokens=request.max_tokens, temperature=request.temperature, top_p=request.top_p, stop=request.stops,
        logprobs=request.logprobs, deadline=call.deadline, expert_mask=request.expert_mask,
    )  # fmt: skip
    every = with_seeds(options, request.seed, n)
    return [Ask(prompt if node else prompt.text, node, seeded) for prompt in prompts for seeded in every]


def _prompts(request: CompletionRequest) -> Sequence[str | Sequence[int]]:
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    return [prompt] if all(isinstance(item, int) for item in prompt) else prompt  # type: ignore[list-item, return-value]


def _prompt(prompt: str | Sequence[int]) -> Prompt:
    return Prompt(prompt) if isinstance(prompt, str) else Prompt(token_ids=tuple(map(TokenId, prompt)))


def _head(call: Call) -> Completion:
    return {
        "id": f"cmpl-{call.exchange.request_id}", "object": "text_completion", "created": call.created,
        "model": call.model, "choices": [],
    }  # fmt: skip


def _tail(call: Call, body: Completion, results: list[RunResult], *, usage: bool) -> Completion:
    body["tokengraph"] = detail_of(call.exchange.request_id, results)
    if usage:
        body["usage"] = usage_of(call.visits)
    return body
