"""pydantic's errors -> problems with a place, what was expected, what was found and a fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from router.spec.positions import Finding, Findings, KeyPath, dotted
from router.spec.schema import Schema, schema_at
from router.spec.wording import did_you_mean, listed, quoted, shown

_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text of {min_length} or more characters",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "a path",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of ordinary size",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number not below {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number not above {le:g}",
    "literal_error": "{expected}",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "value_error": "{error}",
}

_PATTERNS = {
    r"^[\w.-]+$": "a name of letters, digits, _ . and -",
    r"^[\w.]+:\w+$": "package.module:function",
    "^[0-9a-f]{64}$": "64 hexadecimal digits in lower case",
}
"""What the patterns of the spec's models mean to a person."""


def explain(error: ValidationError, data: Mapping[str, object], schema: Schema) -> Findings:
    """One finding for each value that is wrong, however many alternatives pydantic tried."""
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_path.setdefault(_key_path(detail, data), []).append(detail)
    for path, details in by_path.items():
        yield _finding(path, details, data, schema)


def _key_path(detail: ErrorDetails, data: object) -> KeyPath:
    """The error's location without what pydantic adds: the chosen alternative of a union, and ``[key]``."""
    location = detail["loc"]
    if len(location) > 2 and location[0] in ("workers", "nodes", "tools") and location[2] != "[key]":
        location = (*location[:2], *location[3:])
    path: KeyPath = ()
    for step in location:
        inside = (isinstance(data, dict) and step in data) or (
            isinstance(data, list) and isinstance(step, int) and step < len(data)
        )
        if not inside:
            return (*path, step) if detail["type"] == "missing" else path
        path, data = (*path, step), data[step]  # type: ignore[index]  # `inside` saw that it is there
    return path


def _finding(path: KeyPath, details: list[ErrorDetails], data: Mapping[str, object], schema: Schema) -> Finding:
    detail = details[0]
    match detail["type"]:
        case "missing":
            about = schema_at(schema, path, data).get("description", "")
            fix = f"add `{path[-1]}:`" + (f" ({about})" if about else "")
            return Finding(path, f"the key {quoted(str(path[-1]))}", "no such key", fix)
        case "extra_forbidden":
            key = str(path[-1])
            known = list(schema_at(schema, path[:-1], data).get("properties", ()))
            otherwise = "write the keys out, merge keys are not supported" if key == "<<" else "remove it"
            expected = f"one of the keys {listed(known, 20)}"
            return Finding(path, expected, quoted(key), did_you_mean(key, known, otherwise), on_key=True)
        case "union_tag_not_found" | "union_tag_invalid":
            return _bad_tag(path, detail, schema)
        case "literal_error":
            choices = list(_choices(schema_at(schema, path, data)))
            known = [str(value) for value in choices]
            found = str(detail["input"])
            if found in known and detail["input"] not in choices:  # a number, written as text
                fix = "remove the quotes"
            else:
                fix = did_you_mean(found, known, f"write {'one of ' if len(known) > 1 else ''}{listed(known)}")
            return Finding(path, listed(known) or detail["ctx"]["expected"], shown(detail["input"], path), fix)
        case "too_short":
            least, there = detail["ctx"]["min_length"], detail["ctx"]["actual_length"]
            fix = f"add {'one' if there + 1 == least else 'more'} under `{path[-1]}:`"
            return Finding(path, f"at least {least} entr{'y' if least == 1 else 'ies'}", str(there or "none"), fix)
    *others, last = dict.fromkeys(map(_expected, details))
    expected = f"{', '.join(others)} or {last}" if others else last
    return Finding(path, expected, shown(detail["input"], path), _fix(detail, path, expected))


def _bad_tag(path: KeyPath, detail: ErrorDetails, schema: Schema) -> Finding:
    """A missing or unknown ``kind`` of a node or ``engine`` of a worker, or a tool without any of its kinds' keys."""
    if path[0] == "tools":
        kinds = ("builtin", "function", "mcp")
        return Finding(path, f"one of the keys {listed(kinds)}", "none", f"add `builtin: calculator` to {dotted(path)}")
    discriminator = schema["properties"][path[0]]["additionalProperties"]["discriminator"]
    tag, known = str(discriminator["propertyName"]), list(discriminator["mapping"])
    if detail["type"] == "union_tag_not_found":
        return Finding(path, f"`{tag}:` ({listed(known)})", "none", f"add `{tag}:` to {dotted(path)}")
    found = str(detail["ctx"]["tag"])
    fix = did_you_mean(found, known, f"write one of {listed(known)}")
    return Finding((*path, tag), f"a known {tag}: {listed(known)}", quoted(found), fix)


def _choices(schema: Schema) -> Iterable[Any]:
    if "const" in schema:
        return [schema["const"]]
    inner = [choice for part in schema.get("anyOf", ()) for choice in _choices(part)]
    return [*schema.get("enum", ()), *inner]


def _expected(detail: ErrorDetails) -> str:
    if detail["type"] == "string_pattern_mismatch":
        pattern = detail["ctx"]["pattern"]
        return _PATTERNS.get(pattern, f"text that matches {pattern}")
    template = _EXPECTED.get(detail["type"])
    return template.format(**detail.get("ctx", {})) if template else detail["msg"]


def _fix(detail: ErrorDetails, path: KeyPath, expected: str) -> str:
    value, name = detail["input"], path[-1] if path else "it"
    if value is None:
        return f"write a value after `{name}:`, or remove the key"
    if detail["type"] in ("string_type", "path_type") and isinstance(value, (bool, int, float)):
        return "put it in quotes"
    if expected == "a mapping":
        return "write `key: value` lines, indented, under it"
    if expected == "a list":
        return f"write `{name}: [...]`, or lines that begin with `- `"
    return f"write {expected}"
