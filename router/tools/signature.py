"""The signature of a typed Python function, as pydantic and JSON Schema see it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict

from router.spec.wording import shown
from router.tools.errors import ToolArgumentsError, ToolDefinitionError

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Setting:
    """Marks a parameter that the spec sets and the model neither sees nor names: ``Annotated[Path, Setting()]``."""


@dataclass(frozen=True)
class Signature:
    """What a function takes.

    Attributes:
        arguments: what the model gives.
        settings: what the spec gives.
        schema: JSON Schema of the arguments.
    """

    arguments: TypeAdapter[dict[str, Any]]
    settings: TypeAdapter[dict[str, Any]]
    schema: dict[str, Any]

    def check(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the types that the function wants.

        Raises:
            ToolArgumentsError: they do not fit.
        """
        try:
            return self.arguments.validate_python(dict(arguments))
        except ValidationError as problem:
            raise ToolArgumentsError(f"{name}: {described(problem)}") from None

    def as_json(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Checked arguments as JSON values; checking these again gives the same arguments."""
        found: dict[str, Any] = self.arguments.dump_python(arguments, mode="json")
        return found


def read_signature(function: Callable[..., Any]) -> Signature:
    """The signature of a function.

    Raises:
        ToolDefinitionError: a parameter has no type, or one that cannot be checked or written as JSON, or is none that
            can be given by name.
    """
    name = function.__name__
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as problem:
        raise ToolDefinitionError(f"{name}: expected types that can be resolved, found {problem}") from problem
    given: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _BY_NAME:
            raise ToolDefinitionError(f"{name}: expected parameters that can be given by name, found {parameter}")
        if parameter.name not in hints:
            raise ToolDefinitionError(f"{name}: expected a type for each parameter, found none for {parameter.name}")
        kind = hints[parameter.name]
        is_setting = any(isinstance(mark, Setting) for mark in getattr(kind, "__metadata__", ()))
        optional = parameter.default is not inspect.Parameter.empty
        (settings if is_setting else given)[parameter.name] = NotRequired[kind] if optional else kind
    try:
        arguments = _adapter(given)
        return Signature(arguments, _adapter(settings), _plain(arguments.json_schema()))
    except PydanticUserError as problem:
        raise ToolDefinitionError(f"{name}: expected types that pydantic checks, found {problem.message}") from problem


def described(problem: ValidationError) -> str:
    """What is wrong, in one line, without pydantic's own wording around it."""
    return "; ".join(
        f"{'.'.join(map(str, error['loc'])) or 'arguments'}: {error['msg']}"
        + ("" if error["type"] == "missing" else f", found {shown(error['input'])}")
        for error in problem.errors(include_url=False)
    )


def _adapter(fields: dict[str, Any]) -> TypeAdapter[dict[str, Any]]:
    kind = TypedDict("Arguments", fields)  # type: ignore[misc]
    kind.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return TypeAdapter(cast(Any, kind))


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that pydantic makes up; they say nothing and a model has to read them."""
    properties = {
        name: {key: value for key, value in field.items() if key != "title"}
        for name, field in schema.get("properties", {}).items()
    }
    kept = {key: value for key, value in schema.items() if key not in ("title", "properties")}
    return {**kept, "properties": properties}
