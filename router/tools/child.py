"""The process in which functions run, one call after the other; started by ``router.tools.processes``.

It may be killed at any moment. Should the process that it serves be killed, it ends too: at the end of its input, or
by an alarm that no endless loop can hold off.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from functools import cache
from numbers import Number
from typing import Any

from router.errors import TokengraphError
from router.tools.errors import ToolArgumentsError
from router.tools.frames import pack, read
from router.tools.function import FunctionTool
from router.tools.registry import load_function

LOAD_SECONDS = 60.0
_ALARM_LATE = 2.0  # by then the process that asked has long killed this one, if it lives
_LONGEST_ERROR = 500


def main(megabytes: int) -> None:
    """Answers calls from standard input until it ends."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a tool reads and prints must not get between calls and answers
    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (request := read(requests)) is not None:
        signal.setitimer(signal.ITIMER_REAL, LOAD_SECONDS + _ALARM_LATE)
        reply = _guarded(_load, request)
        replies.write(pack(reply))
        if "loaded" in reply:
            signal.setitimer(signal.ITIMER_REAL, request["seconds"] + _ALARM_LATE)
            replies.write(pack(_guarded(_answer, request)))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _guarded(work: Callable[[dict[str, Any]], dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
    try:
        return work(request)
    except ToolArgumentsError as problem:
        return {"misfit": str(problem)[:_LONGEST_ERROR]}
    except TokengraphError as problem:
        return {"failed": str(problem)[:_LONGEST_ERROR]}
    except Exception as problem:  # noqa: BLE001 - it is somebody else's function: whatever it raises is its answer
        said = f"{type(problem).__name__}: {problem}"
        return {"failed": said[:_LONGEST_ERROR], "traceback": traceback.format_exc()[-10_000:]}


def _load(request: dict[str, Any]) -> dict[str, Any]:
    _loaded(request["function"])
    return {"loaded": True}


@cache
def _loaded(reference: str) -> FunctionTool:
    return load_function(reference)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    tool = _loaded(request["function"])
    arguments = tool.signature.check(request["name"], request["arguments"])
    settings = tool.signature.settings.validate_python(request["settings"])
    result = tool.function(**arguments, **settings)
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    text, longest = as_text(result), request["max_output"]
    return {"text": text[:longest].encode("utf-8", "replace").decode(), "cut": len(text) > longest}


def as_text(result: object) -> str:
    """A result as a model reads it: texts, numbers and dates as they are, everything else as JSON."""
    from pydantic_core import to_json, to_jsonable_python

    if isinstance(result, str):
        return result
    if isinstance(result, Number) and not isinstance(result, bool):
        return str(result)
    plain = to_jsonable_python(result)
    return "" if plain is None else plain if isinstance(plain, str) else to_json(plain).decode()


if __name__ == "__main__":
    main(megabytes=int(sys.argv[1]))
