"""OpenTelemetry spans of requests and of the visits within them, by the GenAI semantic conventions.

Spans are made when a request has ended, from the events of its runs. An event knows how long its visit took, not when
it began: visits are laid one after the other, also those that ran side by side.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.errors import GraphError
from router.trace import Answered, Called, Event, Failed, Routed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import AttributeValue

_NANO = 1_000_000_000


@dataclass(frozen=True)
class Finished:
    """A request that has ended.

    Attributes:
        headers: the request's; a ``traceparent`` among them is the parent of its span.
        seconds: how long it took.
        error: the name of the error that ended it.
    """

    operation: str
    model: str
    request_id: str
    headers: Mapping[str, str]
    seconds: float
    runs: tuple[tuple[Event, ...], ...]
    error: str | None = None


class Telemetry:
    """Makes spans with a tracer; without one it does nothing."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer

    def __bool__(self) -> bool:
        return self._tracer is not None

    def record(self, finished: Finished) -> None:
        """The span of a request, with one below it for every visit."""
        if self._tracer is None:
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        end = time.time_ns()
        begin = end - int(finished.seconds * _NANO)
        span = self._tracer.start_span(
            f"{finished.operation} {finished.model}", extract(finished.headers), SpanKind.SERVER, start_time=begin,
            attributes=_request_attributes(finished),
        )  # fmt: skip
        if finished.error is not None:
            span.set_status(Status(StatusCode.ERROR, finished.error))
        inside = set_span_in_context(span)
        for run in finished.runs:
            at = begin
            for event in run:
                visit = self._tracer.start_span(
                    f"{_OPERATIONS[event.kind]} {event.tool if isinstance(event, Called) else event.node}", inside, SpanKind.INTERNAL, start_time=at,
                    attributes=_visit_attributes(event),
                )  # fmt: skip
                if isinstance(event, Failed):
                    visit.set_status(Status(StatusCode.ERROR))
                at += int(event.milliseconds * _NANO / 1000)
                visit.end(at)
        span.end(end)


def telemetry_to(exporter: SpanExporter) -> Telemetry:
    """Telemetry that sends its spans to an exporter, in batches."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "tokengraph"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Telemetry(provider.get_tracer("tokengraph"))


def telemetry_at(url: str) -> Telemetry:
    """Telemetry that sends its spans to an OTLP collector over HTTP.

    Raises:
        GraphError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise GraphError(f"expected OpenTelemetry for spans, found: {error}. Install tokengraph[telemetry]") from error
    return telemetry_to(OTLPSpanExporter(endpoint=url))


_OPERATIONS = {
    "answered": "chat", "routed": "route", "called": "execute_tool", "joined": "join", "failed": "visit",
    "stopped": "visit",
}  # fmt: skip


def _request_attributes(finished: Finished) -> dict[str, AttributeValue]:
    events = [event for run in finished.runs for event in run]
    reasons = [event.finish_reason for run in finished.runs for event in run[-1:] if isinstance(event, Answered)]
    found: dict[str, AttributeValue] = {
        "gen_ai.operation.name": finished.operation,
        "gen_ai.provider.name": "tokengraph",
        "gen_ai.request.model": finished.model,
        "gen_ai.response.id": finished.request_id,
        "gen_ai.response.model": finished.model,
        "gen_ai.usage.input_tokens": sum(event.prompt_tokens for event in events),
        "gen_ai.usage.output_tokens": sum(event.generated_tokens for event in events),
        "gen_ai.response.finish_reasons": reasons,
    }
    if finished.error is not None:
        found["error.type"] = finished.error
    return found


def _visit_attributes(event: Event) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        "gen_ai.operation.name": _OPERATIONS[event.kind],
        "gen_ai.agent.name": event.node,
        "gen_ai.usage.input_tokens": event.prompt_tokens,
        "gen_ai.usage.output_tokens": event.generated_tokens,
        "tokengraph.activated_parameters": event.activated_parameters,
    }
    if isinstance(event, Answered):
        found["gen_ai.response.finish_reasons"] = [event.finish_reason]
        found["tokengraph.probability"] = event.probability
        if event.pair is not None:
            found["tokengraph.large_share"] = event.pair.large_share
    if isinstance(event, Called):
        found["gen_ai.tool.name"] = event.tool
    if isinstance(event, Routed):
        found["tokengraph.chosen"] = [str(pick.node) for pick in event.chosen]
        found["tokengraph.probabilities"] = [pick.probability for pick in event.chosen]
    return found
