r"""Examples with marked calls, one JSON object a line, in one of three forms.

::

    {"query": "...", "response": "That is <add>(2,3)=5 apples."}                     the transcript itself
    {"text": "Q: ...\nA: ... 5572 mod 3241=2331.", "call": ["<remainder>(5572,3241)=2331<eoe>"]}     FuncQA (ToolkenGPT)
    {"question": "...", "answer": "She sold 48/2 = <<48/2=24>>24 clips."}             GSM8K's calculator annotations

A result ends with its word, or at ``<eoe>`` if it has several words. FuncQA keeps its calls beside the text: each stands where its result does. An annotation of GSM8K is a call of the tool of
its operation (``add``, ``subtract``, ``multiply``, ``divide``) if it has one and that is offered, else of ``calculator``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.errors import DataError, Location
from router.json_lines import parse_object, read_lines

_MARK = re.compile(r"<(\w+)>(\((?:[^()]|\([^()]*\))*\))=(?:([^<]*)<eoe>|([^<\s]*[^<\s.,;:!?]))")
_CALL = re.compile(r"\s*<(\w+)>\s*(\(.*\))\s*=(.*?)(?:<eoe>)?\s*", re.DOTALL)
_ANNOTATION = re.compile(r"<<([^<>=]+)=([^<>]*)>>")
_BINARY = re.compile(r"\s*(-?[\d.]+)\s*([-+*/])\s*(-?[\d.]+)\s*")
_OPERATIONS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
_FORMS = '{"query", "response"}, {"text", "call"} or {"question", "answer"}'


@dataclass(frozen=True)
class MarkedCall:
    """A call in a response; ``arguments`` with their brackets."""

    tool: str
    arguments: str
    result: str


@dataclass(frozen=True)
class MarkedExample:
    """A query and a response whose calls are marked."""

    query: str
    response: tuple[str | MarkedCall, ...]

    @property
    def calls(self) -> tuple[MarkedCall, ...]:
        """The calls of the response, in order."""
        return tuple(piece for piece in self.response if isinstance(piece, MarkedCall))


def read_examples(path: Path, tools: Collection[str]) -> list[MarkedExample]:
    """Reads a file of examples; those with calls of other tools, and blank lines, are left out.

    Raises:
        DataError: the file is missing, a line is none of the forms, or nothing is left.
    """
    examples = (_example(line, where, tools) for line, where in read_lines(path))
    found = [example for example in examples if example is not None]
    if not any(example.calls for example in found):
        raise DataError(str(path), f"examples with calls of {', '.join(tools)}", "none")
    return found


def _example(line: bytes, where: Location, tools: Collection[str]) -> MarkedExample | None:
    match parse_object(line, where, f"an object {_FORMS}"):
        case {"query": str(query), "response": str(response)}:
            pieces = tuple(_marked(response))
        case {"text": str(text), "call": list(calls)}:
            query, _, answer = text.partition("\nA:")
            query, pieces = query.removeprefix("Q:").strip(), tuple(_placed(answer.strip(), calls, where))
        case {"question": str(query), "answer": str(answer)}:
            pieces = tuple(_annotated(answer, tools))
        case _:
            raise DataError(where, f"an object {_FORMS}", line[:80].decode(errors="replace"))
    example = MarkedExample(query, pieces)
    return example if all(call.tool in tools for call in example.calls) else None


def _marked(response: str) -> Iterator[str | MarkedCall]:
    end = 0
    for mark in _MARK.finditer(response):
        yield response[end : mark.start()]
        yield MarkedCall(mark[1], mark[2], mark[4] if mark[3] is None else mark[3])
        end = mark.end()
    yield response[end:]


def _placed(answer: str, calls: list[Any], where: Location) -> Iterator[str | MarkedCall]:
    """FuncQA: a call comes where its result stands last; a result that is not in the text comes at its end."""
    rest = answer.replace("<eoe>", "")
    for text in calls:
        call = _CALL.fullmatch(text) if isinstance(text, str) else None
        if call is None:
            raise DataError(where, "calls such as <add>(2,3)=5", str(text)[:80])
        marked = MarkedCall(call[1], call[2], call[3].strip())
        before, found, after = rest.rpartition(marked.result)
        yield before if found else rest
        yield marked
        rest = after if found else ""
    yield rest


def _annotated(answer: str, tools: Collection[str]) -> Iterator[str | MarkedCall]:
    """GSM8K: the result follows its annotation in the text."""
    end = 0
    for note in _ANNOTATION.finditer(answer):
        yield answer[end : note.start()]
        expression, result = note[1], note[2]
        binary = _BINARY.fullmatch(expression)
        operation = _OPERATIONS[binary[2]] if binary else ""
        if binary and operation in tools:
            yield MarkedCall(operation, f"({binary[1]},{binary[3]})", result)
        else:
            yield MarkedCall("calculator", f"({expression})", result)
        end = note.end() + len(result) * answer.startswith(result, note.end())
    yield answer[end:].partition("\n####")[0]
