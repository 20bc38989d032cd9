"""Answers that a vLLM server holds to JSON: what it is told, and whether it did."""

from __future__ import annotations

import json
from contextlib import suppress

from experts.engines.requests import Generation, JsonStructure
from experts.errors import EngineError


def constraint(structure: JsonStructure | None) -> dict[str, str | bool] | None:
    """The field ``structured_outputs`` of a call. The schema goes as text, so that nothing in it is left out as null."""
    if structure is None:
        return None
    if structure.schema is None:
        return {"json_object": True}
    return {"json": json.dumps(structure.schema)}


def check_whole(generation: Generation, url: str) -> None:
    """Whether an answer that the model ended by itself is JSON: a server that does not know the field passes over it.

    Raises:
        EngineError: it is not.
    """
    if generation.finish_reason != "stop" or generation.stop_reason is not None:
        return
    try:
        with suppress(RecursionError):  # nested deeply, so it is no plain text
            json.loads(generation.text, parse_int=str)  # a number may have more digits than Python reads
    except ValueError:
        raise EngineError(
            f"expected JSON of {url}, found {generation.text[:80]!r}: the server does not hold answers to a structure. Start "
            "it with vLLM 0.32, and without a reasoning parser"
        ) from None
