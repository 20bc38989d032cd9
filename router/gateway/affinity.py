"""Dialogues stay with their node: which nodes answered the earlier turns of a dialogue."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from experts.engines.requests import Message
from router.runtime.result import RunResult
from router.trace import Answered, Routed
from router.types import NodeId

_DIALOGUES = 10_000


@dataclass(frozen=True)
class Course:
    """How a dialogue was answered last: what each router chose, and the expert that answered."""

    choices: Mapping[NodeId, NodeId]
    node: NodeId | None


_NEW = Course({}, None)


class Affinity:
    """The courses of the dialogues that were answered last."""

    def __init__(self, dialogues: int = _DIALOGUES) -> None:
        self._dialogues = dialogues
        self._courses: OrderedDict[bytes, Course] = OrderedDict()

    def course(self, keys: Sequence[bytes]) -> Course:
        """That of the first key that is known; of a new dialogue, one without choices."""
        for key in keys:
            if key in self._courses:
                self._courses.move_to_end(key)
                return self._courses[key]
        return _NEW

    def remember(self, keys: Sequence[bytes], result: RunResult) -> None:
        """Notes how a dialogue was answered; an abstention leaves what was known."""
        choices = {e.node: e.chosen[0].node for e in result.events if isinstance(e, Routed) and e.chosen}
        node = next((e.node for e in reversed(result.events) if isinstance(e, Answered)), None)
        if node is None:
            return
        course = Course({router: chosen for router, chosen in choices.items() if chosen is not None}, node)
        for key in keys:
            self._courses[key] = course
            self._courses.move_to_end(key)
        while len(self._courses) > self._dialogues:
            self._courses.popitem(last=False)


def keys_before(scope: str, messages: Sequence[Message], session: str | None, user: str | None) -> list[bytes]:
    """By what a dialogue is recognised: its session, the turns up to its last answer, else its user.

    Args:
        scope: the API key's name and the model: dialogues of others are others.
    """
    keys = [_digest(scope, "session", session)] if session else []
    last = next((place for place in reversed(range(len(messages))) if messages[place].role == "assistant"), None)
    if last is not None:
        keys.append(_digest(scope, "turns", messages[: last + 1]))
        if user:
            keys.append(_digest(scope, "user", user))
    return keys


def keys_after(
    scope: str, messages: Sequence[Message], answer: Message, session: str | None, user: str | None
) -> list[bytes]:
    """By what the same dialogue will be recognised when it goes on after this answer."""
    keys = [_digest(scope, "session", session)] if session else []
    keys.append(_digest(scope, "turns", [*messages, answer]))
    return [*keys, _digest(scope, "user", user)] if user else keys


def _digest(scope: str, kind: str, what: object) -> bytes:
    plain = (
        [[m.role, m.content, [c.name for c in m.tool_calls]] for m in what] if isinstance(what, list | tuple) else what
    )
    return hashlib.blake2b(orjson.dumps([scope, kind, plain]), digest_size=16).digest()
