"""The JSON Schema of the YAML form, for editors."""

from __future__ import annotations

from typing import Any, cast

from router.spec.models import GraphSpec
from router.spec.positions import KeyPath

Schema = dict[str, Any]

_REFERENCE = {"type": "string", "pattern": r"\$\{\w+(:-[^}]*)?\}", "description": "a number from the environment"}


def json_schema() -> Schema:
    """The schema of a graph spec as people write it: with ``from``, ``to``, ``include`` and ``${NAME}``."""
    schema = GraphSpec.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "tokengraph graph spec"
    schema["properties"]["include"] = {
        "type": "array", "items": {"type": "string"},
        "description": "files whose workers, nodes and edges are added, relative to this one",
    }  # fmt: skip
    required = schema.pop("required")
    schema["anyOf"] = [{"required": required}, {"required": ["include"]}]  # includes may bring the required keys
    local = schema["$defs"]["LocalWorker"]
    local["required"] = ["engine", *local["required"]]
    return cast(Schema, _with_references(schema))


def schema_at(schema: Schema, path: KeyPath, data: object) -> Schema:
    """The part of ``schema`` for a key path, alternatives chosen by ``data``; empty where there is none."""
    here = _narrowed(schema, schema, data)
    for step in path:
        data = _child(data, step)
        if isinstance(step, int):
            under = here.get("items", {})
        else:
            under = here.get("properties", {}).get(step) or here.get("additionalProperties") or {}
        here = _narrowed(schema, under, data) if isinstance(under, dict) else {}
    return here


def _child(data: object, step: str | int) -> object:
    if isinstance(data, dict):
        return data.get(step)
    return data[step] if isinstance(data, list) and isinstance(step, int) and step < len(data) else None


def _narrowed(schema: Schema, part: Schema, data: object) -> Schema:
    """``part`` with references followed and the alternative chosen that ``data`` names."""
    while True:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        elif "discriminator" in part and isinstance(data, dict):
            tag = data.get(part["discriminator"]["propertyName"])
            chosen = part["discriminator"]["mapping"].get(tag) if isinstance(tag, str) else None
            if chosen is None:
                return {}
            part = {"$ref": chosen}
        elif "oneOf" in part and isinstance(data, dict):  # of the kinds of tools, the one whose own key is there
            fits = (one for one in part["oneOf"] if _required(schema, one) <= data.keys())
            part = next(fits, {})
        else:
            return part


def _required(schema: Schema, part: Schema) -> set[str]:
    return set(_narrowed(schema, part, None).get("required", ()))


def _with_references(part: Any) -> Any:
    """Every number may also be written as a reference to the environment."""
    if isinstance(part, list):
        return [_with_references(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") in ("integer", "number"):
        outside = {key: part[key] for key in ("title", "description", "default") if key in part}
        return {**outside, "anyOf": [{k: v for k, v in part.items() if k not in outside}, _REFERENCE]}
    return {key: _with_references(value) for key, value in part.items()}
