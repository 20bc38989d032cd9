"""What a chat request holds the answer to: the format that it asks for, or the call of a tool."""

from __future__ import annotations

from dataclasses import dataclass

from experts.engines.requests import JsonStructure
from router.errors import RequestError
from router.gateway.requests import ChatRequest
from router.gateway.response_format import format_structure
from router.gateway.tool_choice import choice_structure


@dataclass(frozen=True)
class Held:
    """A structure, and the field of the request that asks for it."""

    structure: JsonStructure
    field: str


def held_to(request: ChatRequest) -> Held | None:
    """What the answer is held to; None if it is free.

    Raises:
        Refused: a schema is none, or there is no such tool.
        RequestError: there are tools and a format. A model that is held to JSON cannot call a tool in its own way.
    """
    if (structure := format_structure(request.response_format)) is not None:
        if request.callable_tools:
            raise RequestError(
                "expected either tools or a response_format, found both. Leave one out, or say tool_choice: none for the "
                "answer that is to have the format"
            )
        return Held(structure, "response_format")
    structure = choice_structure(request.tools or (), request.tool_choice)
    return None if structure is None else Held(structure, "tool_choice")
