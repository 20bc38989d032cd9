"""Native calls in a model's text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.tools.builtins.catalogue import load_builtin
from router.tools.native.reader import CallReader, FoundCall, Piece, read_turn

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
TAGGED = f"<tool_call>\n{json.dumps(ADD)}\n</tool_call>"


def calls(text: str) -> list[tuple[str, Mapping[str, Any]]]:
    found = [piece for piece in read_turn(text) if isinstance(piece, FoundCall)]
    assert all(call.problem is None for call in found)
    return [(call.name, call.arguments) for call in found]


@pytest.mark.parametrize(
    "text",
    [
        TAGGED,
        TAGGED.removesuffix("</tool_call>"),  # the end token came first
        json.dumps(ADD),
        '{"name": "add", "parameters": {"a": 1, "b": 2}}',  # Llama 3
        f" [{json.dumps(ADD)}]\n",  # Mistral, Granite
        '{"type": "function", "name": "add", "parameters": {"a": 1, "b": 2}}',
        '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}</tool_call>',
    ],
)
def test_the_forms_that_public_models_write(text: str) -> None:
    assert calls(text) == [("add", {"a": 1, "b": 2})]


def test_several_calls_and_text_around_them() -> None:
    assert calls(f"[{json.dumps(ADD)}, {json.dumps(ADD)}]") == [("add", ADD["arguments"])] * 2
    pieces = read_turn(f"Let me see. {TAGGED}\n{TAGGED}\n\nSo:")
    assert [piece if isinstance(piece, str) else piece.name for piece in pieces] == [
        "Let me see. ", "add", "add", "So:",
    ]  # fmt: skip
    assert calls('<tool_call>{"name": "now"}</tool_call>') == [("now", {})]


def test_decimals_reach_the_tool_as_they_were_written() -> None:
    add = next(tool for tool in load_builtin("arithmetic") if tool.name == "add")
    for text in (
        '<tool_call>{"name": "add", "arguments": {"a": 0.1234567890123456789, "b": 1e-20}}</tool_call>',
        '{"name": "add", "arguments": "{\\"a\\": 0.1234567890123456789, \\"b\\": 1e-20}"}',
    ):
        ((_, arguments),) = calls(text)
        assert add(**add.signature.check("add", add.check(arguments))) == "0.12345678901234567891"
        assert json.dumps(arguments) == '{"a": 0.12345678901234568, "b": 1e-20}'


def test_a_character_of_two_escapes_is_one() -> None:
    assert calls('{"name": "add", "arguments": {"a": "\\ud83d\\ude00"}}') == [("add", {"a": "😀"})]


@pytest.mark.parametrize(
    "text",
    ["plain", "a < b <tool", "{", "[1, 2]", '{"name": "Ann", "age": 3}', f"see {json.dumps(ADD)}", f"{json.dumps(ADD)}.", "[]", "", '{"name": "Alice"}',
     '[{"name": "Alice"}, {"name": "Bob"}]', f'[{json.dumps(ADD)}, {{"name": "now"}}]',
     '{"name": "add", "arguments": {"a": "\\ud83d"}}'],
)  # fmt: skip
def test_other_text_stays_text(text: str) -> None:
    assert "".join(piece for piece in read_turn(text) if isinstance(piece, str)) == text
    assert all(isinstance(piece, str) for piece in read_turn(text))


@pytest.mark.parametrize(
    ("inner", "says"),
    [
        ("{not json}", "as JSON"),
        ('{"arguments": {}}', "'arguments'"),
        ('{"name": 3}', "the name 3"),
        ('{"name": "add", "arguments": [1, 2]}', "a list as the arguments"),
        ('{"name": "add", "arguments": {"a": NaN}}', "NaN is no JSON"),
        ('{"name": "add", "arguments": {"a": 1e999}}', "below 1.8e308"),
        ('{"name": "add", "arguments": {}} {}', "as JSON"),
        ("add(1, 2)", "as JSON"),
        ('{"name": "add", "arguments": {"a": "\\ud83d"}}', "surrogates"),
        ('{"name": "add", "arguments": {"\\ude00": 1}}', "surrogates"),
        ('{"name": "add", "arguments": "{\\"a\\": \\"\\\\ud83d\\"}"}', "surrogates"),
        ("[" * 100_000, "as JSON"),
        ("", "as JSON"),
    ],
)
def test_a_broken_call_says_what_was_expected(inner: str, says: str) -> None:
    (call,) = read_turn(f"<tool_call>{inner}</tool_call>")
    assert isinstance(call, FoundCall) and call.problem is not None
    assert says in str(call.problem) and "expected a call" in str(call.problem)
    assert call.written == f"<tool_call>{inner}</tool_call>"


parts = st.sampled_from(
    (TAGGED, json.dumps(ADD), f"[{json.dumps(ADD)}]", "<tool_call>", "</tool_call>", "<tool", "{", "a", " ", "\n")
)


@given(st.lists(parts, max_size=6).map("".join), st.integers(1, 40))
def test_pieces_of_any_size_read_alike(text: str, size: int) -> None:
    reader = CallReader()
    found: list[Piece] = []
    for start in range(0, len(text), size):
        found += reader.push(text[start : start + size])
    found += reader.finish()

    def said(pieces: list[Piece]) -> tuple[str, list[str]]:
        return "".join(p for p in pieces if isinstance(p, str)), [p.written for p in pieces if isinstance(p, FoundCall)]

    assert said(found) == said(read_turn(text))
