"""What a response tells of its runs: usage, log-probabilities, how each one ended, the trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from router.gateway.responses import (
    ChatLogprobs,
    CompletionLogprobs,
    Detail,
    FinishReason,
    NodeUsage,
    RunDetail,
    TopLogprob,
    Usage,
)
from router.runtime.result import RunResult
from router.trace import Answered, Event, TokenLogprob


def usage_of(events: Iterable[Event]) -> Usage:
    """What visits took, together and one by one."""
    nodes = [_node_usage(event) for event in events]
    read, written = sum(node["prompt_tokens"] for node in nodes), sum(node["completion_tokens"] for node in nodes)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written, "nodes": nodes}


def _node_usage(event: Event) -> NodeUsage:
    used: NodeUsage = {
        "node": event.node, "prompt_tokens": event.prompt_tokens, "completion_tokens": event.generated_tokens,
        "activated_parameters": event.activated_parameters, "milliseconds": round(event.milliseconds, 3),
    }  # fmt: skip
    if isinstance(event, Answered) and event.pair is not None:
        used["large_share"] = round(event.pair.large_share, 4)
    return used


def detail_of(request_id: str, results: Sequence[RunResult]) -> Detail:
    """The field ``tokengraph`` of a response."""
    return {"trace": request_id, "runs": [_run_detail(result) for result in results]}


def _run_detail(result: RunResult) -> RunDetail:
    detail: RunDetail = {
        "route": [pick.model_dump() for pick in result.route],
        "events": [event.model_dump(mode="json", exclude={"logprobs"}) for event in result.events],
    }
    if result.pending is not None:
        detail["pending"] = asdict(result.pending)
    return detail


def last_answer(result: RunResult) -> Answered | None:
    """The last expert that answered; None if a router abstained before any did."""
    return next((event for event in reversed(result.events) if isinstance(event, Answered)), None)


def finish_reason(result: RunResult) -> FinishReason:
    """Why the answer ended."""
    last = last_answer(result)
    return "stop" if last is None else last.finish_reason


def chat_logprobs(result: RunResult) -> ChatLogprobs:
    """Log-probabilities in the form of chat."""
    return {
        "content": [
            {**_entry(t.token, t.logprob), "top_logprobs": [_entry(*other) for other in t.top]} for t in _tokens(result)
        ]
    }


def completion_logprobs(result: RunResult) -> CompletionLogprobs:
    """Log-probabilities in the form of completions."""
    tokens = _tokens(result)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [dict(token.top) for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def _tokens(result: RunResult) -> tuple[TokenLogprob, ...]:
    last = last_answer(result)
    return () if last is None else last.logprobs


def _entry(token: str, logprob: float) -> TopLogprob:
    """``bytes`` is null for a part of a character, which has no text of its own."""
    whole = "\ufffd" not in token
    return {"token": token, "logprob": max(logprob, -9999.0), "bytes": list(token.encode()) if whole else None}
