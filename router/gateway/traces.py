"""The traces of the last requests, by request id."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from router.gateway.errors import Refused
from router.trace import Event

_PREFIXES = ("chatcmpl-", "cmpl-")


@dataclass(frozen=True)
class Trace:
    """What happened in the runs of one request.

    Attributes:
        owner: name of the API key that may see it; None if there are no keys.
        error: what went wrong, if something did.
    """

    model: str
    created: int
    owner: str | None
    runs: tuple[tuple[Event, ...], ...]
    error: str | None = None


class Traces:
    """Holds the last ``count`` traces."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._traces: OrderedDict[str, Trace] = OrderedDict()

    def add(self, request_id: str, trace: Trace) -> None:
        """Keeps a trace; the oldest one goes."""
        self._traces.pop(request_id, None)
        self._traces[request_id] = trace
        while len(self._traces) > self._count:
            self._traces.popitem(last=False)

    def get(self, name: str, owner: str | None) -> dict[str, Any]:
        """A trace as plain data.

        Args:
            name: the request's id, or its response's.

        Raises:
            Refused: there is none of that name, or it is another key's.
        """
        request_id = next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)
        trace = self._traces.get(request_id)
        if trace is None or trace.owner != owner:
            raise Refused(
                f"expected the id of one of the last {self._count} requests, found {name[:80]!r}. Use the x-request-id "
                "of a response", status=404, code="trace_not_found",
            )  # fmt: skip
        return {
            "id": request_id,
            "object": "tokengraph.trace",
            "model": trace.model,
            "created": trace.created,
            "error": trace.error,
            "runs": [[event.model_dump(mode="json") for event in run] for run in trace.runs],
        }
