"""Reads literal values as models write them: Python's and JSON's at once, in bounded time and depth.

A lexer that knows nothing but literals, and a descent whose depth is known before it starts. Python's own parser is not
used: its depth on hostile text is bounded by the interpreter alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from router.spec.wording import quoted
from router.tools.decimals import read_decimal
from router.tools.errors import ToolArgumentsError

MAX_CHARACTERS = 10_000
MAX_DEPTH = 20
MAX_DIGITS = 1_000

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[-+−]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?(?![\w.]))
    | (?P<name>[^\W\d]\w*)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<mark>[\[\](){},:=])
    )\s*""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}
_NAMED = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Token:
    """A piece of the text; ``kind`` is number, name, text, mark or end."""

    kind: str
    text: str
    position: int


class Reader:
    """Reads one literal after the other.

    Raises:
        ToolArgumentsError: from the constructor, the text is too long, too deep or holds what no literal holds; from
            the methods, the literals are not well formed.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            raise ToolArgumentsError(f"expected at most {MAX_CHARACTERS} characters of arguments, found {len(text)}")
        self._tokens = tuple(_tokens(text))
        self._next = 0
        _check_depth(self._tokens)

    def peek(self, ahead: int = 0) -> Token:
        """The token after the next ``ahead`` ones, unread."""
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def take(self, *marks: str) -> Token:
        """Reads the next token, which must be one of the marks if any are given."""
        token = self.peek()
        if marks and token.text not in marks:
            raise self.unexpected(" or ".join(map(repr, marks)))
        self._next += 1
        return token

    def unexpected(self, expected: str) -> ToolArgumentsError:
        """What to raise at the next token."""
        token = self.peek()
        found = "the end" if token.kind == "end" else f"{quoted(token.text)} (character {token.position + 1})"
        return ToolArgumentsError(f"expected {expected}, found {found}")

    def value(self) -> Any:
        """One value: a number, a text, true, false, none, a list or a mapping."""
        token = self.peek()
        if token.kind == "number":
            self.take()
            return _number(token.text)
        if token.kind == "text":
            self.take()
            return _text(token.text)
        if token.kind == "name" and token.text in _NAMED:
            self.take()
            return _NAMED[token.text]
        match token.text:
            case "[" | "(":
                return self._list()
            case "{":
                return self.mapping()
        raise self.unexpected("a number, a text in quotes, true, false, null, a list or a mapping")

    def mapping(self) -> dict[str, Any]:
        """``{"key": value, ...}`` with texts as keys, each once."""
        self.take("{")
        found: dict[str, Any] = {}
        while self.peek().text != "}":
            if self.peek().kind != "text":
                raise self.unexpected("a key in quotes")
            key = _text(self.take().text)
            if key in found:
                raise ToolArgumentsError(f"expected each key once, found {quoted(key)} twice")
            self.take(":")
            found[key] = self.value()
            if self.peek().text != "}":
                self.take(",")
        self.take("}")
        return found

    def _list(self) -> list[Any]:
        closing = _CLOSING[self.take("[", "(").text]
        found = []
        while self.peek().text != closing:
            found.append(self.value())
            if self.peek().text != closing:
                self.take(",", closing)
        self.take(closing)
        return found


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while match := _TOKEN.match(text, position):
        kind = str(match.lastgroup)
        yield Token(kind, match[kind], match.start(kind))
        position = match.end()
    if text[position:].strip():
        raise ToolArgumentsError(
            f"expected literal values only, found {quoted(text[position:].strip())} (character {position + 1})"
        )
    yield Token("end", "", len(text))


def _check_depth(tokens: tuple[Token, ...]) -> None:
    depth = 0
    for token in tokens:
        if token.kind == "mark":
            depth += (token.text in _CLOSING) - (token.text in _CLOSING.values())
        if depth > MAX_DEPTH:
            raise ToolArgumentsError(f"expected at most {MAX_DEPTH} brackets within each other, found more")


def _number(text: str) -> int | float:
    text = text.replace("−", "-")
    if len(text) > MAX_DIGITS:
        raise ToolArgumentsError(f"expected a number of at most {MAX_DIGITS} digits, found {len(text)}")
    return int(text) if text.lstrip("+-").isdecimal() else read_decimal(text)


def _text(token: str) -> str:
    plain = _ESCAPE.sub(_unescaped, token[1:-1])
    try:
        return plain.encode("utf-16", "surrogatepass").decode("utf-16")  # JSON writes one character as two escapes
    except UnicodeDecodeError:
        raise ToolArgumentsError(f"expected whole characters, found half of one in {quoted(token)}") from None


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code else _ESCAPED.get(escape[3], escape[3])
