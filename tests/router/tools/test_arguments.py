"""The text of a call is read as it was meant, or refused with a reason, in bounded time."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.tools.arguments import read_arguments
from router.tools.errors import ToolArgumentsError
from router.tools.literals import MAX_CHARACTERS, Reader

AB = ("a", "b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("multiply(12, 34.5)", {"a": 12, "b": 34.5}),
        (" multiply ( 12 , 34.5 ) ", {"a": 12, "b": 34.5}),
        ("(12, 34.5)", {"a": 12, "b": 34.5}),
        ("12, 34.5", {"a": 12, "b": 34.5}),
        ("multiply(12, b=-.5e2)", {"a": 12, "b": -50.0}),
        ("b=True, a=None", {"a": None, "b": True}),
        ("multiply(a=1, b=2,)", {"a": 1, "b": 2}),
        ("multiply()", {}),
        ("multiply(\"a)\", b='(')", {"a": "a)", "b": "("}),
        (r'multiply("say \"hi\"\n", "\u00e9\x41\ud83d\ude00")', {"a": 'say "hi"\n', "b": "éA😀"}),
        ("multiply([1, (2, 3)], {'x': {\"y\": null}})", {"a": [1, [2, 3]], "b": {"x": {"y": None}}}),
        ('{"a": 1, "b": [true, false]}', {"a": 1, "b": [True, False]}),
        ('multiply({"a": 1})', {"a": 1}),
        ('{"name": "multiply", "arguments": {"a": 1}}', {"a": 1}),
        ('{"a": 1}, 2', {"a": {"a": 1}, "b": 2}),
        ("multiply(−3, +4)", {"a": -3, "b": 4}),
    ],
)
def test_a_call_is_read(text: str, expected: dict) -> None:
    assert read_arguments(text, "multiply", AB) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("add(1, 2)", "expected a call of multiply, found one of 'add'"),
        ('{"name": "add", "arguments": {}}', "expected a call of multiply, found one of 'add'"),
        ("multiply(1, 2, 3)", "expected at most 2 arguments, found '3'"),
        ("multiply(a=1, a=2)", "expected a once, found it twice"),
        ("multiply(1, a=2)", "expected a once, found it twice"),
        ("multiply(bb=1)", "found 'bb'; did you mean b?"),
        ("multiply(a=1, 2)", "expected name=value, found '2'"),
        ("multiply(1 2)", "expected ',', found '2'"),
        ("multiply(1, 2", "expected ')' at the end of the call"),
        ("multiply(1 + 2, 3)", "expected literal values only, found '+ 2, 3'"),
        ("multiply(__import__('os').system('id'), 1)", "found one of '__import__'"),
        ("multiply([x for x in 'ab'], 1)", "found 'x'"),
        ("multiply(f'{1}', 1)", "found 'f'"),
        ("multiply(b'1', 1)", "found 'b'"),
        ("multiply(1_000, 1)", "found '1_000, 1'"),
        ("multiply(0x10, 1)", "found '0x10, 1'"),
        ("multiply(1e999, 1)", "expected a number below 1.8e308"),
        ("multiply(nan, 1)", "found 'nan'"),
        ('multiply("\\ud83d", 1)', "expected whole characters"),
        ('{"a": 1, "a": 2}', "found 'a' twice"),
        ("{1: 2}", "expected a key in quotes"),
        ("multiply('a", "expected ')' at the end of the call"),
        ("[" * 21 + "]" * 21, "at most 20 brackets"),
        ("1" * 1001, "at most 1000 digits"),
        ("1" * (MAX_CHARACTERS + 1), "at most 10000 characters"),
    ],
)
def test_a_text_that_is_no_call_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ToolArgumentsError) as refused:
        read_arguments(text, "multiply", AB)
    assert reason in str(refused.value)
    assert str(refused.value).endswith("Write multiply(a, b)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("calculator((2+3)*4)", "(2+3)*4"),
        ("((2+3)*4)", "(2+3)*4"),
        ("(2+3)*(4)", "(2+3)*(4)"),
        ("calculator(sqrt(2))", "sqrt(2)"),
        ("sqrt(2)", "sqrt(2)"),
        ("calculator('1+1')", "1+1"),
        ("calculator(expression='1+1')", "1+1"),
        ('{"expression": "1+1"}', "1+1"),
        ("12", "12"),
        ("1, 2", "1, 2"),
    ],
)
def test_a_tool_of_one_text_takes_it_without_quotes(text: str, expected: str) -> None:
    assert read_arguments(text, "calculator", ("expression",), sole="text") == {"expression": expected}


@pytest.mark.parametrize("text", ["'1' + '2'", 'calculator("1)', "'1', other='2'"])
def test_a_text_that_begins_with_a_quote_must_be_a_literal(text: str) -> None:
    with pytest.raises(ToolArgumentsError):
        read_arguments(text, "calculator", ("expression",), sole="text")


@pytest.mark.parametrize(
    "text", ["gcd(1, 2, 3)", "1, 2, 3", "[1, 2, 3]", "gcd(numbers=[1, 2, 3])", '{"numbers": [1, 2, 3]}']
)
def test_a_tool_of_one_list_takes_its_items(text: str) -> None:
    assert read_arguments(text, "gcd", ("numbers",), sole="list") == {"numbers": [1, 2, 3]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('store({"x": 1})', {"a": {"x": 1}}),
        ('{"x": 1, "b": 2}', {"a": {"x": 1, "b": 2}}),
        ("({})", {"a": {}}),
        ('({"x": 1}, 2)', {"a": {"x": 1}, "b": 2}),
        ('({"x": 1}, b=2)', {"a": {"x": 1}, "b": 2}),
        ('a={"x": 1}', {"a": {"x": 1}}),
        ('{"a": {"x": 1}}', {"a": {"x": 1}}),
        ('{"a": {"x": 1}, "b": 2}', {"a": {"x": 1}, "b": 2}),
        ('{"name": "store", "arguments": {"a": {"x": 1}}}', {"a": {"x": 1}}),
    ],
)
def test_an_object_is_the_first_argument_where_that_takes_a_mapping(text: str, expected: dict) -> None:
    assert read_arguments(text, "store", AB, mapping_first=True) == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@settings(deadline=None, max_examples=200)
def test_values_that_json_writes_are_read_back(value: object) -> None:
    for ascii_only in (True, False):
        assert Reader(json.dumps(value, ensure_ascii=ascii_only)).value() == value


@given(
    st.text() | st.text("()[]{}\"'\\,:=-+.eE1 ab\n", max_size=60),
    st.sampled_from([None, "text", "list"]),
    st.booleans(),
)
@example("(" * 9999, None, False)
@example('"\\' * 4999, "text", False)
@settings(deadline=None, max_examples=500)
def test_whatever_the_text_nothing_but_an_arguments_error_comes_out(
    text: str, sole: str | None, mapping_first: bool
) -> None:
    parameters = AB if sole is None else ("a",)
    try:
        found = read_arguments(text, "f", parameters, sole=sole, mapping_first=mapping_first)
    except ToolArgumentsError:
        return
    assert sole is None or set(found) <= {"a"} or text.lstrip().startswith(("{", "f", "("))
    json.dumps(found)


@pytest.mark.parametrize(
    "text",
    ["1" * 9999 + "x", '"' * 9999, "(" * 9999, "-" * 9999, "{" * 9999, " " * 9998 + "\\", '\\"' * 4999, "'\"" * 4999,
     "f(" + "[" * 19 + "1," * 4900 + "]" * 19, '"' + "\\u0041" * 1600, "1," * 4999, "a=" * 4999, "." * 9999],
)  # fmt: skip
@pytest.mark.parametrize("sole", [None, "text", "list"])
def test_the_longest_texts_take_no_time(text: str, sole: str | None) -> None:
    begun = time.process_time()
    with contextlib.suppress(ToolArgumentsError):
        read_arguments(text, "f", ("a",), sole=sole)
    assert time.process_time() - begun < 1
