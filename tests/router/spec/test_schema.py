"""The JSON Schema says what load_spec accepts."""

from __future__ import annotations

import json
import re

from router.spec import json_schema
from router.spec.schema import schema_at


def test_the_yaml_form_is_described() -> None:
    schema = json.loads(json.dumps(json_schema()))
    edge = schema["$defs"]["EdgeSpec"]["properties"]
    assert {"from", "to"} <= edge.keys() and "source" not in edge
    assert "include" in schema["properties"]
    assert schema["additionalProperties"] is False
    assert "engine" in schema["$defs"]["LocalWorker"]["required"]


def test_numbers_may_come_from_the_environment() -> None:
    steps = schema_at(json_schema(), ("budget",), {})["properties"]["steps"]
    assert "exclusiveMinimum" in json.dumps(steps)
    (pattern,) = re.findall(r'"pattern": ("[^"]+")', json.dumps(steps))
    assert re.search(json.loads(pattern), "${STEPS:-3}") and not re.search(json.loads(pattern), "many")


def test_the_part_for_a_key_path_follows_the_kind_in_the_data() -> None:
    data = {"nodes": {"a": {"kind": "router"}}, "edges": [{}]}
    assert "fan_out" in schema_at(json_schema(), ("nodes", "a"), data)["properties"]
    assert schema_at(json_schema(), ("edges", 0, "when"), data)
    assert schema_at(json_schema(), ("nodes", "b", "x", 3), data) == {}


def test_the_part_for_a_tool_follows_the_key_that_is_there() -> None:
    data = {"tools": [{"mcp": {}}, {"builtin": "sql"}, {"tool": "x"}]}
    assert "prefix" in schema_at(json_schema(), ("tools", 0), data)["properties"]
    assert "headers" in schema_at(json_schema(), ("tools", 0, "mcp"), data)["properties"]
    assert "files" in schema_at(json_schema(), ("tools", 1), data)["properties"]
    assert schema_at(json_schema(), ("tools", 2), data) == {}
