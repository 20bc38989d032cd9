"""From the text of a call to a tool's arguments: ``multiply(12, b=34.5)``, ``(12, 34.5)``, ``12, 34.5`` or JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from router.spec.wording import did_you_mean, quoted
from router.tools.errors import ToolArgumentsError
from router.tools.literals import MAX_CHARACTERS, Reader

Sole = Literal["text", "list"] | None
_QUOTED = re.compile(r""" "(?:[^"\\]|\\.)*(?:"|$) | '(?:[^'\\]|\\.)*(?:'|$) """, re.VERBOSE | re.DOTALL)


def read_arguments(
    text: str, name: str, parameters: Sequence[str], *, sole: Sole = None, mapping_first: bool = False
) -> dict[str, Any]:
    """The arguments by name, as literals; whether they fit the signature is not looked at.

    Args:
        text: the call, with or without the tool's name and the brackets; or a JSON object of the arguments, or one with
            ``name`` and ``arguments``.
        name: the tool's name.
        parameters: the names of its parameters, in order.
        sole: what the only parameter takes. A ``text``: what stands between the brackets is that text if it is no
            literal, so that a model may write ``calculator((2+3)*4)`` without quotes. A ``list``: several values are
            its items, as in ``gcd(12, 18, 30)``.
        mapping_first: the first parameter takes a mapping: an object is that one, unless all its keys are parameters.

    Raises:
        ToolArgumentsError: the text is no call of this tool.
    """
    try:
        if len(text) > MAX_CHARACTERS:
            raise ToolArgumentsError(f"expected at most {MAX_CHARACTERS} characters, found {len(text)}")
        return _read(text, name, parameters, sole, mapping_first)
    except ToolArgumentsError as problem:
        raise ToolArgumentsError(f"{name}: {problem}. Write {name}({', '.join(parameters)})") from None


def _read(text: str, name: str, parameters: Sequence[str], sole: Sole, mapping_first: bool) -> dict[str, Any]:
    inner = _inner(text, name)
    if sole != "text" or inner[:1] in ("", "{", "'", '"'):
        _check_name(inner, name)
        return _bound(inner, name, parameters, sole, mapping_first)
    try:
        found = _bound(inner, name, parameters, sole, mapping_first)
    except ToolArgumentsError:
        found = {}
    return found if isinstance(found.get(parameters[0]), str) else {parameters[0]: inner}


def _inner(text: str, name: str) -> str:
    """What stands between the brackets of a call; the text itself if it has none."""
    text = text.strip()
    opening = text.removeprefix(name).lstrip()
    if opening.startswith("(") and opening.endswith(")") and _encloses(opening):
        return opening[1:-1].strip()
    return text


def _check_name(inner: str, name: str) -> None:
    head, bracket, _ = inner.partition("(")
    if bracket and head.strip() == name:
        raise ToolArgumentsError("expected ')' at the end of the call, found none")
    if bracket and head.strip().isidentifier():
        raise ToolArgumentsError(f"expected a call of {name}, found one of {quoted(head.strip())}")


def _encloses(text: str) -> bool:
    """Whether the first bracket is closed by the last one; brackets in quotes do not count."""
    depth = 0
    for position, character in enumerate(_QUOTED.sub(lambda found: "x" * len(found[0]), text)):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position == len(text) - 1
    return True


def _bound(inner: str, name: str, parameters: Sequence[str], sole: Sole, mapping_first: bool) -> dict[str, Any]:
    reader = Reader(inner)
    if reader.peek().text == "{" and (found := _object(reader, name, parameters, mapping_first)) is not None:
        return found
    reader = Reader(inner)
    if sole == "list" and reader.peek(1).text != "=":
        return _gathered(reader, parameters[0])
    return _listed(reader, parameters)


def _object(reader: Reader, name: str, parameters: Sequence[str], mapping_first: bool) -> dict[str, Any] | None:
    """The arguments of a JSON object; None if the object is itself the first argument."""
    found = reader.mapping()
    if reader.peek().kind != "end":
        return None
    if set(found) == {"name", "arguments"} and isinstance(found["arguments"], Mapping) and "name" not in parameters:
        if found["name"] != name:
            raise ToolArgumentsError(f"expected a call of {name}, found one of {quoted(str(found['name']))}")
        return dict(found["arguments"])
    return None if mapping_first and not (found and found.keys() <= set(parameters)) else found


def _gathered(reader: Reader, parameter: str) -> dict[str, Any]:
    """``1, 2, 3`` as the items of one list; ``[1, 2, 3]`` is that list."""
    found: list[Any] = []
    while reader.peek().kind != "end":
        found.append(reader.value())
        if reader.peek().kind != "end":
            reader.take(",")
    return {parameter: found[0] if len(found) == 1 and isinstance(found[0], list) else found}


def _listed(reader: Reader, parameters: Sequence[str]) -> dict[str, Any]:
    """``1, "two", c=3``: in order first, then by name."""
    found: dict[str, Any] = {}
    by_name = False
    while reader.peek().kind != "end":
        if reader.peek().kind == "name" and reader.peek(1).text == "=":
            key, by_name = reader.take().text, True
            reader.take("=")
            if key not in parameters:
                fix = did_you_mean(key, parameters, f"it takes {', '.join(parameters) or 'none'}")
                raise ToolArgumentsError(f"expected a parameter's name, found {quoted(key)}; {fix}")
        elif by_name or len(found) >= len(parameters):
            expected = "name=value" if by_name else f"at most {len(parameters)} arguments"
            raise reader.unexpected(expected)
        else:
            key = parameters[len(found)]
        if key in found:
            raise ToolArgumentsError(f"expected {key} once, found it twice")
        found[key] = reader.value()
        if reader.peek().kind != "end":
            reader.take(",")
    return found
