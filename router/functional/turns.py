"""How a dialogue becomes one vector: its last user turns, each weighing less than the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experts.engines.base import Engine
from experts.engines.requests import Message
from router.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TURNS = 4  # user turns that are read, the last ones
_FADE = 0.4  # weight of a turn relative to the next one


def user_turns(messages: Sequence[Message]) -> list[str]:
    """The user turns that count, oldest first. What the assistant said and the system prompt do not count.

    Raises:
        RequestError: there is none.
    """
    turns = [message.content for message in messages if message.role == "user"]
    if not turns:
        raise RequestError("expected a dialogue with a user turn, found none. Add what the user asks")
    return turns[-_TURNS:]


def blend(vectors: NDArray[np.float32], layers: int = 1) -> NDArray[np.float32]:
    """The vector [d] of a dialogue whose turns have the vectors [turns, d], each of ``layers`` unit vectors side by
    side; so is the result."""
    import numpy as np

    if len(vectors) == 1:
        only: NDArray[np.float32] = vectors[0]
        return only
    weights = np.array([_FADE**age for age in range(len(vectors))][::-1], np.float32)
    mixed = (weights @ vectors).reshape(layers, -1)
    blended: NDArray[np.float32] = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), np.float32(1e-12))
    return blended.ravel()


async def encode_dialogues(
    engine: Engine, dialogues: Sequence[Sequence[Message]], layers: int = 1
) -> NDArray[np.float32]:
    """Vectors [n, d] of dialogues (at least one), all turns in one batched call; of every layer if ``layers`` > 1."""
    import numpy as np

    turns = [user_turns(messages) for messages in dialogues]
    vectors = await engine.embed([turn for dialogue in turns for turn in dialogue], layers=layers > 1)
    parts = np.split(vectors, np.cumsum([len(dialogue) for dialogue in turns])[:-1])
    return np.stack([blend(part, layers) for part in parts])
