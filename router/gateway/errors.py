"""Errors in OpenAI's shape: the exception tree as status codes, types and codes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from router.errors import (
    BudgetExceeded,
    CapabilityError,
    CheckpointError,
    DeadlineExceeded,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    NothingPending,
    RequestError,
    TokengraphError,
)


class Refused(TokengraphError):
    """The gateway does not take a request.

    Attributes:
        status: the HTTP status.
        code: OpenAI's word for the reason.
        param: the field that is wrong.
        headers: more headers of the response.
    """

    def __init__(
        self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.code, self.param, self.headers = status, code, param, dict(headers or {})


class ClientGone(TokengraphError):
    """The client hung up; nobody reads the response any more."""


@dataclass(frozen=True)
class Problem:
    """An error as a response."""

    status: int
    type: str
    message: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's form."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


_NO_RETRY = {"x-should-retry": "false"}  # the openai client would try again after 409, 429 and 5xx


def problem_of(error: TokengraphError | ValidationError) -> Problem:
    """What a client is told of an error."""
    message = str(error) or type(error).__name__
    match error:
        case ValidationError():
            return _invalid(error)
        case Refused():
            return Problem(error.status, _type(error.status), message, error.code, error.param, error.headers)
        case EngineOverloaded():
            return Problem(429, "rate_limit_error", message, "overloaded", headers=retry_after(error.retry_after))
        case DeadlineExceeded():
            return Problem(504, "timeout_error", message, "deadline_exceeded", headers=_NO_RETRY)
        case BudgetExceeded(what="seconds"):
            return Problem(504, "timeout_error", message, "budget_exceeded", headers=_NO_RETRY)
        case NothingPending():
            return Problem(409, "invalid_request_error", message, "nothing_pending", headers=_NO_RETRY)
        case BudgetExceeded():
            return Problem(422, "invalid_request_error", message, "budget_exceeded")
        case EngineUnavailable():
            return Problem(503, "server_error", message, "engine_unavailable", headers=retry_after(1.0))
        case RequestError() | CapabilityError():
            return Problem(400, "invalid_request_error", message)
        case EngineError() if not isinstance(error, CheckpointError):
            return Problem(502, "server_error", message, "engine_error")
        case _:
            return Problem(500, "server_error", message, "graph_error", headers=_NO_RETRY)


def retry_after(seconds: float) -> dict[str, str]:
    """When trying again may help, for clients that read whole seconds and for those that read milliseconds."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(1000 * seconds)))}


def _invalid(error: ValidationError) -> Problem:
    """What is wrong with a request's body, with its place; of several forms that would do, in the one it came nearest."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    first = max(problems, key=lambda problem: len(problem["loc"]))
    place = ".".join(str(step) for step in first["loc"] if not _FORM.fullmatch(str(step))) or None
    at = f" at {place}" if place else ""
    return Problem(400, "invalid_request_error", f"{first['msg']}{at}. Correct the request", param=place)


# What pydantic adds to a place to say which of several forms it means: `str`, `ChosenTool`, `list[TextPart]`, `constrained-int`.
_FORM = re.compile(r"str|[A-Z]\w*|.*[\[-].*")


def _type(status: int) -> str:
    return {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error"
    )
