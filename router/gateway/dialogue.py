"""From a chat request to what the graph is asked."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experts.engines.requests import Message, ToolCall
from router.errors import NothingPending, RequestError
from router.gateway.affinity import Course
from router.gateway.gateway import Call
from router.gateway.own_calls import Approval, is_own, new_ticket, thread_of
from router.gateway.requests import ChatMessage, ChatRequest
from router.gateway.runs import Ask
from router.gateway.structure import held_to
from router.json_text import parse_json
from router.runtime.router import RunOptions
from router.spec.models import AnsweringNode, RouterNode
from router.types import NodeId


def messages_of(turns: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """The dialogue.

    Raises:
        RequestError: it does not end with a user's or a tool's turn, no user says anything, or a call is no JSON.
    """
    messages = tuple(_message(turn) for turn in turns if not _is_own(turn))
    if not messages or messages[-1].role not in ("user", "tool"):
        found = f"{messages[-1].role}'s" if messages else "none"
        raise RequestError(f"expected messages that end with a user's or a tool's turn, found {found}. Add one")
    if all(message.role != "user" for message in messages):
        raise RequestError("expected a user's turn among the messages, found none. Add what the user asks")
    return messages


async def asks_of(
    call: Call, request: ChatRequest, messages: tuple[Message, ...], course: Course, approval: Approval | None = None
) -> list[Ask]:
    """One run for each choice; with an ``approval``, the one that goes on.

    With tools the node answers alone, whom the router chooses: it must see the calls and their results as they are.
    """
    node = call.deployment.node(request.model)
    call.deployment.check_mask(request.expert_mask, node)
    tools = request.callable_tools
    if tools and request.show_tool_calls:
        raise RequestError(
            "expected either tools or show_tool_calls, found both: nobody could tell which calls were made. Leave one out"
        )
    held = held_to(request)
    calls = tools or any(m.role == "tool" or m.tool_calls for m in messages)
    if node is None and calls:
        node = await _responsible(call, messages, course)
    if held is not None:
        call.deployment.check_structured(node, held.field)
    options = RunOptions(
        max_tokens=request.max_completion_tokens or request.max_tokens, temperature=request.temperature,
        top_p=request.top_p, stop=request.stops, logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        deadline=call.deadline, expert_mask=request.expert_mask, tools=tools, keep=course.choices,
        margin=call.deployment.spec.gateway.affinity, structure=None if held is None else held.structure,
    )  # fmt: skip
    every = with_seeds(options, request.seed, request.n or 1)
    if approval is not None:
        if not call.deployment.may_ask:
            raise NothingPending(
                "expected a call that waits for a yes or a no, found a graph that asks for none. Ask anew"
            )
        return [_kept(call, messages, every[0], approval)]
    if request.model == call.deployment.spec.name and call.deployment.may_ask and not calls:
        return [_kept(call, messages, seeded) for seeded in every]
    return [Ask(messages, node, seeded) for seeded in every]


def _kept(call: Call, messages: tuple[Message, ...], options: RunOptions, approval: Approval | None = None) -> Ask:
    """A run of the graph that can stop to ask. What it draws depends on its ticket: so it draws the same again."""
    ticket = new_ticket() if approval is None else approval.ticket
    if options.seed is None and options.temperature:
        options = replace(options, seed=zlib.crc32(ticket.encode()))
    return Ask(messages, None, options, thread_of(call.scope, ticket), approval)


def with_seeds(options: RunOptions, seed: int | None, n: int) -> list[RunOptions]:
    """The options of ``n`` choices: their seeds count up."""
    return [options if seed is None else replace(options, seed=_wrapped(seed + place)) for place in range(n)]


def _wrapped(seed: int) -> int:
    return seed if seed < 2**63 else seed - 2**64


async def _responsible(call: Call, messages: Sequence[Message], course: Course) -> NodeId:
    """The expert that a dialogue with tools belongs to: the one that called them, else whom the router chooses."""
    spec = call.deployment.spec
    before = course.node
    # A reload may have taken the node away.
    if messages[-1].role == "tool" and before is not None and isinstance(spec.nodes.get(before), AnsweringNode):
        return before
    if not isinstance(spec.nodes[spec.entry], RouterNode):
        raise RequestError(
            f"expected tools with a node or with a graph that begins with a router, found the entry {spec.entry}. Ask a "
            f"node: model {spec.name}/NODE"
        )
    plain = [m for m in messages if m.role in ("system", "user") or (m.role == "assistant" and not m.tool_calls)]
    while plain[-1].role != "user":
        plain.pop()
    decision = await call.deployment.router.aroute(plain, listener=call.listener())
    chosen = [choice.node for choice in decision.chosen if choice.node is not None]
    if not chosen or not isinstance(spec.nodes[chosen[0]], AnsweringNode):
        raise RequestError(
            f"expected a dialogue that belongs to one of the nodes, found none that fits. Ask a node: model {spec.name}/NODE"
        )
    return chosen[0]


def _is_own(turn: ChatMessage) -> bool:
    """Whether nothing of a turn is left without the calls that the client was only shown, or asked about."""
    if turn.role == "tool":
        return is_own(turn.tool_call_id)
    return bool(turn.tool_calls) and not turn.text and all(is_own(call.id) for call in turn.tool_calls or ())


def _message(turn: ChatMessage) -> Message:
    role = "system" if turn.role == "developer" else turn.role
    calls = tuple(
        ToolCall(call.function.name, _arguments(call.function.arguments), call.id)
        for call in turn.tool_calls or ()
        if not is_own(call.id)
    )
    return Message(role, turn.text, calls, turn.tool_call_id)


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = parse_json(text or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise RequestError(
            f"expected the arguments of a tool call as a JSON object of whole characters, found {text[:80]!r}. Send what the "
            "response gave"
        )
    return arguments
