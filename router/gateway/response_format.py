"""``response_format``: the form that a client wants the answer in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from experts.engines.requests import JsonStructure
from router.gateway.errors import Refused
from router.gateway.wire import Wire


class TextFormat(Wire):
    """Any text, as without a format."""

    type: Literal["text"]


class ObjectFormat(Wire):
    """A JSON object, whatever is in it."""

    type: Literal["json_object"]


class NamedSchema(Wire):
    """A JSON Schema. Answers are held to it, ``strict`` or not."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(Wire):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


_SCHEMA = "response_format.json_schema.schema"

ResponseFormat = Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")]


def format_structure(asked: TextFormat | ObjectFormat | SchemaFormat | None) -> JsonStructure | None:
    """What the answer is held to; None for text.

    Raises:
        Refused: the schema is no JSON Schema.
    """
    match asked:
        case ObjectFormat():
            return JsonStructure()
        case SchemaFormat(json_schema=named):
            check_schema(named.schema_, _SCHEMA, field=_SCHEMA)
            return JsonStructure(named.schema_)
    return None


def check_schema(schema: Mapping[str, Any], place: str, *, field: str) -> None:
    """Whether a part of a request is a JSON Schema; what of it a model can be held to is for its server to say.

    Raises:
        Refused: it is none; the error names the place in words, and the field.
    """
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as problem:
        found = f"{problem.message[:300]} at {problem.json_path[:100]}"
    except RecursionError:
        found = "one that is nested too deeply"
    else:
        return
    raise Refused(f"expected a JSON Schema as {place}, found {found}. Correct it", code="invalid_schema", param=field)
