"""Calls of tools in a model's text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.tool_calls import ToolCallReader
from tests.router.gateway.graphs import CALL


def read(text: str, size: int) -> tuple[str, list[tuple[str, Any]]]:
    """Text and calls, from pieces of so many characters."""
    reader = ToolCallReader()
    pieces: list[Any] = []
    for start in range(0, len(text), size):
        pieces += reader.push(text[start : start + size])
    pieces += reader.finish()
    calls = [p["function"] for p in pieces if not isinstance(p, str)]
    texts = "".join(p for p in pieces if isinstance(p, str))
    return texts, [(call["name"], json.loads(call["arguments"])) for call in calls]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_pieces_of_any_size(size: int) -> None:
    add = ("add", {"a": 347, "b": 589})
    assert read(CALL, size) == ("", [add])
    assert read(f"Well: {CALL}\n{CALL}\n", size) == ("Well: ", [add, add])


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "text",
    ["plain", "a < b", "<tool_call>{not json}</tool_call>", '<tool_call>{"arguments": {}}</tool_call>', "<tool_call>{", "[1]<tool"],
)  # fmt: skip
def test_what_is_no_call_stays_text(text: str, size: int) -> None:
    assert read(text, size) == (text, [])


@given(st.text(alphabet='<tool_cal>/{}" ab', max_size=60), st.integers(1, 9))
def test_nothing_gets_lost(text: str, size: int) -> None:
    got, calls = read(text, size)
    assert calls or got.split() == text.split()
    assert (got, calls) == read(text, 1000)


def test_arguments_as_text_stay_as_they_are() -> None:
    (call,) = ToolCallReader().push('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>')
    assert not isinstance(call, str) and call["function"]["arguments"] == '{"a": 1}'
