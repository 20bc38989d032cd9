"""What a decoder router reads: the dialogue under the router's own system prompt, cut to the model's context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, Message
from experts.errors import RequestError


def last_user_turn(messages: Sequence[Message]) -> str:
    """The text of the last user turn.

    Raises:
        RequestError: there is none.
    """
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    raise RequestError("expected a dialogue with a user turn to route, found none. Add the user's query")


def router_prompt(messages: Sequence[Message], system: str | None) -> tuple[Message, ...]:
    """The dialogue as the router sees it.

    The dialogue's own system turns are left out: they speak to the models that answer. The router is asked with the
    system prompt that it was trained with, or none.

    Raises:
        RequestError: there is no user turn.
    """
    last_user_turn(messages)
    turns = tuple(message for message in messages if message.role != "system")
    return turns if system is None else (Message("system", system), *turns)


def fit_context(engine: Engine, messages: tuple[Message, ...], room: int) -> tuple[tuple[Message, ...], int]:
    """Drops the oldest turns until ``room`` tokens are left for the answer; the last user turn always stays.

    Returns:
        The remaining messages and the tokens left for the answer: ``room``, or fewer (at least two, a functional token
        and one more) where the last user turn alone leaves no more.

    Raises:
        RequestError: the last user turn alone fills the context.
    """
    limit = engine.info.context_length
    head = messages[:1] if messages[0].role == "system" else ()
    turns = messages[len(head):]  # fmt: skip
    # Some chat templates insist on a user turn first, so a cut dialogue starts with one.
    starts = [0, *(index for index, turn in enumerate(turns) if index and turn.role == "user")]

    def left(start: int) -> int:
        try:
            return limit - len(engine.render(GenerateRequest(messages=(*head, *turns[start:]))))
        except RequestError:  # longer than the context
            return 0

    if (most := left(0)) >= room:
        return messages, room
    if len(starts) > 1:
        start = starts[min(bisect_left(starts, True, key=lambda start: left(start) >= room), len(starts) - 1)]
        messages, most = (*head, *turns[start:]), left(start)
    if most < min(room, 2):
        length = len(engine.render(GenerateRequest(messages=messages)))  # may say itself what is wrong
        raise RequestError(
            f"expected a query that leaves room for an answer in {limit} tokens of context, found {length} tokens of "
            f"prompt. Shorten the query, or route with a model that reads more than {engine.info.model}"
        )
    return messages, min(most, room)
