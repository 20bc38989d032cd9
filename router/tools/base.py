"""What every tool is, whoever runs it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.spec.wording import quoted
from router.tools.arguments import Sole, read_arguments
from router.tools.errors import ToolDefinitionError

_NAME = re.compile(r"[A-Za-z_][\w-]{0,63}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Tool(ABC):
    """Something that a model may call.

    Attributes:
        name: what the model calls it by; letters, digits, ``_`` and ``-``.
        description: what it does, for the model; the prior of its tool token comes from it.
        schema: JSON Schema of its arguments, an object.
        seconds: longest time of one call.
        max_output: most characters of a result; the rest is cut.
        side_effects: it changes something outside, so the user is asked before each call.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    seconds: float = 10.0
    max_output: int = 4_000
    side_effects: bool = False

    def __post_init__(self) -> None:
        for expected, holds, found in (
            ("a name of at most 64 letters, digits, _ and -", _NAME.fullmatch(self.name), quoted(self.name)),
            ("a description", self.description.strip(), "none; write a docstring"),
            ("seconds above 0", self.seconds > 0, f"{self.seconds:g}"),
            ("max_output of at least 1", self.max_output >= 1, str(self.max_output)),
        ):
            if not holds:
                raise ToolDefinitionError(f"tool {quoted(self.name)}: expected {expected}, found {found}")

    @property
    def properties(self) -> dict[str, Mapping[str, Any]]:
        """The JSON Schema of each parameter, in the order in which they are written without names: required ones first."""
        properties, required = self.schema.get("properties", {}), self.schema.get("required", ())
        ordered = sorted(properties.items(), key=lambda one: one[0] not in required)
        return {name: schema if isinstance(schema, Mapping) else {} for name, schema in ordered}  # `true` is a schema

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of ``properties``."""
        return tuple(self.properties)

    def read(self, text: str) -> dict[str, Any]:
        """The arguments in the text of a call, checked.

        Raises:
            ToolArgumentsError: the text is no call of this tool, or its arguments do not fit.
        """
        schemas = tuple(self.properties.values())
        kinds = [schema.get("type") for schema in schemas]
        sole: Sole = "text" if kinds == ["string"] else "list" if kinds == ["array"] else None
        mapping_first = any(map(_may_be_mapping, schemas[:1]))
        return self.check(read_arguments(text, self.name, self.parameters, sole=sole, mapping_first=mapping_first))

    @abstractmethod
    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as JSON values, once they fit the signature.

        Raises:
            ToolArgumentsError: they do not fit.
        """


def _may_be_mapping(schema: Mapping[str, Any]) -> bool:
    """Whether a mapping may fit a schema, for all that its types say."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return any(_may_be_mapping(one) for one in schema[key] if isinstance(one, Mapping))
    kinds = schema.get("type", "object")
    return not {"enum", "const"} & schema.keys() and "object" in (kinds if isinstance(kinds, list) else [kinds])
