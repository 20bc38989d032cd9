"""Graphs to serve."""

from __future__ import annotations

from typing import Any

from router import GraphSpec
from tests.router.runtime.graphs import edge, expert, router, rules, says, spec

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 347, "b": 589}}\n</tool_call>'


def desk(**more: Any) -> GraphSpec:
    """A master, an expert that repeats in brackets, one for everything else, and one that is down."""
    workers = {
        "master": rules(
            ("^repeat (.*)", r"<node_0>('\1')<end>"), ("broken", "<node_2>('x')<end>"), (".*", "<node_1>('other')<end>")
        ),
        "echo": says(r"[\g<0>]", match=".+"),
        "other": says("something else altogether"),
        "down": says("", error="the worker is down"),
    }
    nodes = {
        "master": router("master"), "echo": expert("echo"), "other": expert("other"), "down": expert("down"),
    }  # fmt: skip
    edges = [edge("master", node) for node in ("echo", "other", "down")]
    return spec("master", workers, nodes, *edges, **{"name": "desk", **more})


def lone(worker: dict[str, Any], **node: Any) -> GraphSpec:
    """A graph of one expert."""
    return spec("a", {"w": worker}, {"a": expert("w", **node)}, name="lone")


def user(text: str) -> list[Any]:
    """A dialogue of one turn."""
    return [{"role": "user", "content": text}]
