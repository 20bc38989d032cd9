"""Calls in what a model writes, told from text piece by piece.

Two forms, which between them most public models write: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``
anywhere in the text (Hermes, Qwen), and a text that is nothing but the JSON object of a call, or a list of such (Llama 3,
with ``parameters``; Mistral and Granite, after a special token that is no text). Only a call in tags may leave out its
arguments.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, NoReturn

from router.json_text import parse_json
from router.spec.wording import quoted, shown
from router.tools.decimals import read_decimal
from router.tools.errors import ToolArgumentsError

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_FORM = '{"name": NAME, "arguments": {...}}'
_BARE_KEYS = ({"name", "arguments"}, {"name", "parameters"})  # {"name": "Alice"} is an answer
_KEYS = (*_BARE_KEYS, {"name"})


@dataclass(frozen=True)
class FoundCall:
    """A call as a model wrote it.

    Attributes:
        written: all of its text, the tags included.
        name: of the tool; empty if it is no call.
        arguments: by name; whether they fit the tool is not looked at.
        problem: why it is no call, for the model to read; None if it is one.
    """

    written: str
    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    problem: ToolArgumentsError | None = None


Piece = str | FoundCall


class CallReader:
    """Reads one turn of a model. White space right after a call is left out.

    What is between the tags is a call, a broken one if it is not of the form above. Anything else is text.
    """

    def __init__(self) -> None:
        self._held = ""
        self._begun = self._after_call = False

    def push(self, text: str) -> list[Piece]:
        """The next piece; gives what is certain by now."""
        self._held += text
        if not self._begun:
            if self._held.lstrip()[:1] in ("", "{", "["):  # perhaps a call without tags: known at the end
                return []
            self._begun = True
        found: list[Piece] = []
        while (start := self._held.find(OPEN)) >= 0 and (end := self._held.find(CLOSE, start)) >= 0:
            end += len(CLOSE)
            found += [*self._text(self._held[:start]), self._marked(self._held[start:end])]
            self._held = self._held[end:]
        certain = start if start >= 0 else len(self._held) - _overlap(self._held)
        found += self._text(self._held[:certain])
        self._held = self._held[certain:]
        return found

    def finish(self) -> list[Piece]:
        """What is left when the turn is over; a call whose end is missing is one if it is whole."""
        found: list[Piece] = []
        if not self._begun:
            if calls := _untagged(self._held):
                return list(calls)
            self._begun = True
            found = self.push("")
        rest, self._held = self._held, ""
        if rest.startswith(OPEN):
            return [*found, self._marked(rest)]
        return [*found, *self._text(rest)]

    def _text(self, text: str) -> list[Piece]:
        if self._after_call:
            text = text.lstrip()
        self._after_call = self._after_call and not text
        return [text] if text else []

    def _marked(self, written: str) -> FoundCall:
        inner = written.removeprefix(OPEN).removesuffix(CLOSE)
        try:
            call = _call(_parsed(inner), written, _KEYS)
        except ToolArgumentsError as problem:
            return FoundCall(written, problem=problem)
        self._after_call = True
        return call


def read_turn(text: str) -> list[Piece]:
    """The pieces of a whole turn, neighbouring texts as one."""
    reader = CallReader()
    found: list[Piece] = []
    for piece in (*reader.push(text), *reader.finish()):
        if isinstance(piece, str) and found and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def _untagged(text: str) -> list[FoundCall]:
    """The calls of a text that is nothing but calls; empty for any other."""
    try:
        parsed = _parsed(text)
        each = parsed if isinstance(parsed, list) else [parsed]
        return [_call(one, text if len(each) == 1 else json.dumps(one, ensure_ascii=False), _BARE_KEYS) for one in each]
    except ToolArgumentsError:
        return []


def _parsed(text: str) -> Any:
    try:
        return parse_json(text, parse_float=read_decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, ToolArgumentsError) as problem:
        raise ToolArgumentsError(
            f"expected a call as JSON, {_FORM}, found {quoted(text.strip())} ({problem})"
        ) from None


def _call(parsed: Any, written: str, keys: Collection[Set[str]]) -> FoundCall:
    if not isinstance(parsed, dict) or parsed.keys() - {"id", "type"} not in keys:
        found = f"the keys {', '.join(map(quoted, parsed)) or 'none'}" if isinstance(parsed, dict) else shown(parsed)
        raise ToolArgumentsError(f"expected a call of the form {_FORM}, found {found}")
    name, arguments = parsed["name"], parsed.get("arguments", parsed.get("parameters", {}))
    if isinstance(arguments, str):  # some models quote the object once more
        arguments = _parsed(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        found = f"the name {shown(name)} and {shown(arguments)} as the arguments"
        raise ToolArgumentsError(f"expected a call of the form {_FORM}, found {found}")
    return FoundCall(written, name, arguments)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _overlap(text: str) -> int:
    """How long an end of the text is that a call may begin with."""
    return next((n for n in range(min(len(OPEN) - 1, len(text)), 0, -1) if OPEN.startswith(text[-n:])), 0)
