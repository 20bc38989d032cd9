"""``tool_choice``: whether the model may call a tool of the client's, or has to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from experts.engines.requests import JsonStructure
from router.gateway.errors import Refused
from router.gateway.response_format import check_schema
from router.gateway.wire import Wire

_SHARED = ("$defs", "definitions")


class Function(Wire):
    """A function that the model may call; ``parameters`` is a JSON Schema."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Wire):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class ChosenFunction(Wire):
    """The name of a function."""

    name: str


class ChosenTool(Wire):
    """The tool that the model has to call."""

    type: Literal["function"]
    function: ChosenFunction


ToolChoice = Literal["auto", "none", "required"] | ChosenTool


def choice_structure(tools: Sequence[Tool], choice: ToolChoice | None) -> JsonStructure | None:
    """The call that the answer has to be; None if the model may answer as it likes.

    It is the JSON that ``CallReader`` takes for a call where there is nothing else.

    Raises:
        Refused: there is no such tool, or its parameters are no schema of an object.
    """
    if choice in (None, "auto", "none"):
        return None
    wanted = choice.function.name if isinstance(choice, ChosenTool) else None
    functions = [tool.function for tool in tools if wanted in (None, tool.function.name)]
    if not functions:
        names = ", ".join(tool.function.name for tool in tools) or "none"
        raise Refused(
            f"expected a tool_choice among the request's tools ({names}), found {wanted or choice!r}. Send the tool, or leave "
            "tool_choice out", param="tool_choice",
        )  # fmt: skip
    shared: dict[str, dict[str, Any]] = {}
    calls = [_call(function, shared) for function in functions]
    return JsonStructure({**(calls[0] if len(calls) == 1 else {"anyOf": calls}), **shared})


def _call(function: Function, shared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of a call; what its parameters refer to is put where all calls have it."""
    parameters = {"type": "object", **(function.parameters or {})}
    place = f"the parameters of {function.name}"
    if parameters["type"] != "object":
        raise _unfit(f"expected an object as {place}, found {parameters['type']!r}. Correct it")
    check_schema(parameters, place, field="tools")
    for reference in _references(parameters):
        if not reference.startswith(tuple(f"#/{key}/" for key in _SHARED)):
            raise _unfit(f"expected references to #/$defs/... in {place}, found {reference[:80]!r}. Put it there")
    for key in _SHARED:
        for name, schema in parameters.pop(key, {}).items():
            if shared.setdefault(key, {}).setdefault(name, schema) != schema:
                raise _unfit(f"expected one meaning of #/{key}/{name} in all tools, found two. Rename one")
    return {
        "type": "object", "properties": {"name": {"const": function.name}, "arguments": parameters},
        "required": ["name", "arguments"], "additionalProperties": False,
    }  # fmt: skip


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _unfit(message: str) -> Refused:
    return Refused(message, code="invalid_schema", param="tools")
