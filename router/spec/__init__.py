"""YAML -> GraphSpec, with errors that name file, line and fix."""

from __future__ import annotations

from router.spec.load import load_spec, parse_spec
from router.spec.models import (
    AnsweringNode,
    Budget,
    EdgeSpec,
    ExpertNode,
    GraphSpec,
    JoinNode,
    NodeSpec,
    RouterNode,
    TokenPairNode,
    ToolNode,
    When,
)
from router.spec.schema import json_schema

__all__ = [
    "AnsweringNode", "Budget", "EdgeSpec", "ExpertNode", "GraphSpec", "JoinNode", "NodeSpec", "RouterNode",
    "TokenPairNode", "ToolNode", "When", "json_schema", "load_spec", "parse_spec",
]  # fmt: skip
