"""What a user asks: a text, or a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experts.engines.requests import Message, TokenId
from router.errors import RunError

Query = str | Sequence[Message]
"""A question, or a dialogue that ends with one."""


@dataclass(frozen=True)
class Prompt:
    """What a single node goes on writing, without a chat template: a text or the exact tokens."""

    text: str = ""
    token_ids: tuple[TokenId, ...] | None = None


def messages_of(query: Query) -> tuple[Message, ...]:
    """The dialogue.

    Raises:
        RunError: it does not end with a user's turn.
    """
    messages = (Message("user", query),) if isinstance(query, str) else tuple(query)
    if not messages or messages[-1].role != "user":
        found = f"one that ends with the {messages[-1].role}'s" if messages else "an empty one"
        raise RunError(f"expected a dialogue that ends with a user's turn, found {found}. Pass a text, or messages")
    return messages


def input_of(query: Query) -> dict[str, Any]:
    """The dialogue as the compiled graph takes it."""
    return {"messages": [{"role": message.role, "content": message.content} for message in messages_of(query)]}
