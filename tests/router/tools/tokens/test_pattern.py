from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from router.tools import Tool, tool
from router.tools.builtins.catalogue import load_builtin
from router.tools.mcp import McpTool
from router.tools.mcp_connection import HttpSource
from router.tools.mcp_server import McpServer
from router.tools.tokens.pattern import call_pattern

TOOLS = {one.name: one for name in ("calculator", "arithmetic", "units", "dates") for one in load_builtin(name)}


@tool
def book(nights: int, room: str, meals: bool = False, guests: list[str] | None = None) -> str:
    """Books a room."""
    return f"{nights} {room} {meals} {guests}"


@tool
def fetch(*, limit: int = 10, page: int = 1, site: str) -> str:
    """Fetches a page."""
    return f"{site} {page} {limit}"


class Place(BaseModel):
    town: str
    floor: int = 0


@tool
def store(value: dict[str, int]) -> str:
    """Stores a mapping."""
    return str(value)


@tool
def go(to: Place, fast: bool = False) -> str:
    """Goes to a place."""
    return f"{to.town} {fast}"


@tool
def keep(value: Any) -> str:
    """Keeps anything."""
    return str(value)


def remote(**schema: object) -> Tool:
    """A tool as an MCP server may describe it."""
    server = McpServer(HttpSource("http://127.0.0.1:9"))
    return McpTool(name="remote", description="Odd.", schema=schema, server=server, remote_name="remote")


def state(name: str, text: str) -> str:
    found = call_pattern(TOOLS.get(name, book)).fullmatch(text, partial=True)
    return "no" if found is None else "begun" if found.partial else "whole"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("calculator", "((2+3)*4)"), ("add", "(12,34.5)"), ("add", "(-1, 2e10)"), ("log", "(100)"), ("log", "(100,2)"),
        ("log", "(100, base=2)"), ("gcd", "(12, 18,30)"), ("gcd", "([1,2])"), ("convert_unit", "(3,\"miles\",'km')"),
        ("days_between", '("2024-01-01","2024-02-03")'), ("add_to_date", '("2024-01-01",1,days=3)'), ("current_time", "()"),
        ("current_time", '("UTC")'), ("book", '(2,"blue",true,["a", "b"])'), ("book", '(2,"blue",guests=null)'),
    ],
)  # fmt: skip
def test_whole_calls_are_what_the_tool_reads(name: str, text: str) -> None:
    assert state(name, text) == "whole"
    assert TOOLS.get(name, book).read(text) is not None
    assert all(state(name, text[:end]) == "begun" for end in range(1, len(text)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("add", "(a"), ("add", "(1)"), ("add", "(1,2,"), ("add", "(,"), ("calculator", "()"), ("calculator", "(2))"),
        ("convert_unit", "(3,miles"), ("days_between", "(2"), ("days_between", '("24-'), ("gcd", "()"), ("book", "(2.5"),
        ("book", '(2,"blue",4'), ("log", "(100,bas3"), ("add", "2"),
    ],
)  # fmt: skip
def test_what_cannot_become_a_call(name: str, text: str) -> None:
    assert state(name, text) == "no"


@pytest.mark.parametrize(
    ("name", "text"),
    [("calculator", "(" * 5000), ("convert_unit", '(3,"' + "\\" * 5001), ("gcd", "(" + "1," * 2500 + "x")],
)
def test_hostile_arguments_are_judged_in_time(name: str, text: str) -> None:
    call_pattern(TOOLS[name]).fullmatch(text, partial=True, timeout=5)


@pytest.mark.parametrize(
    "one",
    [
        fetch,
        remote(
            properties={"limit": {"type": "integer"}, "page": {"type": "integer"}, "site": {"type": "string"}},
            required=["site"],
        ),
    ],
)
def test_what_comes_without_a_name_is_read_in_the_order_in_which_it_is_written(one: Tool) -> None:
    pattern = call_pattern(one)
    for text, expected in (
        ('("x")', {"site": "x"}),
        ('("x",3)', {"site": "x", "limit": 3}),
        ('("x", 3, 4)', {"site": "x", "limit": 3, "page": 4}),
        ('("x", page=4)', {"site": "x", "page": 4}),
    ):
        assert pattern.fullmatch(text) is not None
        assert one.read(text) == expected
    assert pattern.fullmatch('(3, 4, "x")', partial=True) is None


def test_a_schema_that_allows_anything() -> None:
    one = remote(properties={"a": True, "b": {"type": "array", "items": True}}, required=["a"])
    assert call_pattern(one).fullmatch('({"x": 1}, [2, "y"])') is not None
    assert one.read('({"x": 1}, [2, "y"])') == {"a": {"x": 1}, "b": [2, "y"]}


@pytest.mark.parametrize(
    ("one", "text", "expected"),
    [
        (store, '({"x": 1})', {"value": {"x": 1}}),
        (store, "({})", {"value": {}}),
        (store, '({"value": {"x": 1}})', {"value": {"x": 1}}),
        (go, '({"town": "Rome"})', {"to": {"town": "Rome", "floor": 0}}),
        (go, '({"town": "Rome"}, fast=true)', {"to": {"town": "Rome", "floor": 0}, "fast": True}),
        (keep, '({"x": 1})', {"value": {"x": 1}}),
        (keep, "(5)", {"value": 5}),
        (remote(properties={"a": {"type": ["object", "null"]}}), '({"x": 1})', {"a": {"x": 1}}),
        (remote(properties={"a": {"anyOf": [{"type": "object"}, {"type": "null"}]}}), '({"x": 1})', {"a": {"x": 1}}),
    ],
)
def test_a_mapping_is_an_argument_like_others(one: Tool, text: str, expected: dict) -> None:
    assert call_pattern(one).fullmatch(text) is not None
    assert one.read(text) == expected
