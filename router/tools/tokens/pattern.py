"""The form of a tool's arguments as a regular expression, read off its JSON Schema: what a model may write.

The expression is matched *partially* (the ``regex`` package can): a text that could still become a call is told from one
that cannot, after every character. It accepts what `router.tools.arguments` reads, not more than that needs: arguments
in order, optional ones also by name, lists in brackets. Whether the values fit is the tool's to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import regex

from router.tools.base import Tool

_SEPARATOR = r"(?:(?<=[(\[{])|(?<![(\[{]), ?)"  # a comma, unless nothing stands before it
_INTEGER = r"[-+]?\d{1,40}"
_NUMBER = rf"{_INTEGER}(?:\.\d{{1,40}})?(?:[eE][-+]?\d{{1,2}})?"
_TEXT = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
_DATE = r"\d{4}-\d{2}-\d{2}"
_TIME = r"\d{2}:\d{2}(?::\d{2})?"
_FORMATS = {"date": _DATE, "time": _TIME, "date-time": rf"{_DATE}(?:[T ]{_TIME})?"}
_ANY = "(?&any)"  # any literal, to any depth
_DEFINED = (
    rf"(?(DEFINE)(?P<any>{_TEXT}|{_NUMBER}|true|false|null|\[(?:{_SEPARATOR}(?&any))*\]"
    rf"|\{{(?:{_SEPARATOR}{_TEXT}: ?(?&any))*\}}))"
)
_NESTED = r"(?P<nested>[^()\n]|\((?&nested)*\))"  # text without quotes, its brackets closed


def call_pattern(tool: Tool) -> regex.Pattern[str]:
    """What ``(arguments)`` of a tool looks like; use it with ``fullmatch(text, partial=True)``."""
    properties = tool.properties
    if [schema.get("type") for schema in properties.values()] == ["string"]:
        sole = next(iter(properties.values()))
        if "enum" not in sole and "format" not in sole:
            some = "+" if tool.schema.get("required") else "*"
            return regex.compile(rf"\({_NESTED}{some}\)")  # as the calculator takes its expression
    return regex.compile(rf"{_DEFINED}\((?:{_arguments(properties, tool.schema.get('required', ()))})\)")


def _arguments(properties: Mapping[str, Mapping[str, Any]], required: Sequence[str]) -> str:
    """The required ones in order, then optional ones in order, then optional ones by name."""
    if len(properties) == 1:
        (schema,) = properties.values()
        if schema.get("type") == "array":  # gcd(12, 18, 30)
            return rf"(?:{_SEPARATOR}{_value(schema.get('items', {}))})+|{_value(schema)}"
    given = "".join(_SEPARATOR + _value(properties[name]) for name in properties if name in required)
    optional = {name: _value(schema) for name, schema in properties.items() if name not in required}
    in_order = ""
    for value in reversed(optional.values()):
        in_order = f"(?:{_SEPARATOR}{value}{in_order})?"
    by_name = "|".join(f"{regex.escape(name)}={value}" for name, value in optional.items())
    return given + in_order + (f"(?:{_SEPARATOR}(?:{by_name}))*" if by_name else "")


def _value(schema: Mapping[str, Any] | bool | list[Any]) -> str:
    """One value."""
    if not isinstance(schema, Mapping):  # `true`, or in older drafts a list of the items' schemas
        return _ANY
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if choices is not None:
        return _either(regex.escape(json.dumps(choice, ensure_ascii=False)) for choice in choices)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _one_of(schema[key])
    kind = schema.get("type")
    match kind:
        case list():
            return _one_of([{**schema, "type": each} for each in kind])
        case "integer":
            return _INTEGER
        case "number":
            return _NUMBER
        case "boolean":
            return "(?:true|false)"
        case "null":
            return "null"
        case "string" if (form := _FORMATS.get(schema.get("format", ""))) is not None:
            return rf"""(?:"{form}"|'{form}')"""
        case "string":
            return _TEXT
        case "array":
            return rf"\[(?:{_SEPARATOR}{_value(schema.get('items', {}))})*\]"
        case _:
            return _ANY


def _one_of(schemas: Sequence[Mapping[str, Any]]) -> str:
    """Any of several forms. What may be a number is written as one: text stands there for numbers that JSON lacks."""
    kinds = {schema.get("type") for schema in schemas}
    if kinds & {"number", "integer"}:
        schemas = [schema for schema in schemas if schema.get("type") != "string"]
    return _either(dict.fromkeys(map(_value, schemas)))


def _either(forms: Any) -> str:
    return f"(?:{'|'.join(forms)})"
