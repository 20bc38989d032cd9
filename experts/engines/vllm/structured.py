"""Answers that a vLLM server holds to JSON: what it is told, and whether it did.

A server that does not know the field passes over it. And vLLM keeps to the grammar library that its first such request
chose, which passes over what it does not know of later schemas. Nothing in an answer says so, hence the second look.
"""

from __future__ import annotations

import json
from typing import Any

from experts.engines.requests import Generation, JsonStructure
from experts.errors import EngineError

_MOST_DIGITS = 4000  # Python reads hardly more


def constraint(structure: JsonStructure | None) -> dict[str, str | bool] | None:
    """The field ``structured_outputs`` of a call. The schema goes as text, so that nothing in it is left out as null."""
    if structure is None:
        return None
    if structure.schema is None:
        return {"json_object": True}
    return {"json": json.dumps(structure.schema)}


def check_whole(generation: Generation, structure: JsonStructure, url: str) -> None:
    """Whether an answer that the model ended by itself is what it was held to; patterns are left to the server.

    Raises:
        EngineError: it is not.
    """
    if generation.finish_reason != "stop" or generation.stop_reason is not None:
        return
    if (problem := _problem(generation.text, structure)) is not None:
        raise EngineError(
            f"expected JSON of {url} as it was asked for, found {generation.text[:80]!r} ({problem[:200]}). Use a schema that "
            "vLLM can express, and a server of vLLM 0.32 without a reasoning parser"
        )


def _problem(text: str, structure: JsonStructure) -> str | None:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
    from jsonschema.validators import extend  # type: ignore[import-untyped]
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    schema: Any = {"type": "object"} if structure.schema is None else structure.schema
    # Python may take for ever to match a pattern.
    validator = extend(Draft202012Validator, {"pattern": None, "patternProperties": None})(schema, registry=Registry())
    try:
        answer = json.loads(text, parse_int=lambda digits: int(digits[:_MOST_DIGITS]))
        wrong = next(validator.iter_errors(answer), None)
    except ValueError:
        return "no JSON"
    except Unresolvable as problem:
        return f"a reference that leads nowhere: {problem}"
    except RecursionError:
        return "nested too deeply to be looked at"
    return None if wrong is None else str(wrong.message)
