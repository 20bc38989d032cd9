"""Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from router.trace import Event

M = TypeVar("M", Counter, Histogram)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """What the gateway counts; each gateway has its own registry."""

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._children: dict[tuple[object, tuple[str, ...]], object] = {}
        self.running = Gauge("tokengraph_requests_running", "requests being answered", registry=registry)
        self._requests = Counter(
            "tokengraph_requests", "requests answered", ("endpoint", "status"), registry=registry
        )  # fmt: skip
        self._seconds = Histogram(
            "tokengraph_request_seconds", "time to the end of a response", ("endpoint",), buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._visits = Counter("tokengraph_visits", "visits of nodes", ("node", "kind"), registry=registry)
        self._visit_seconds = Counter("tokengraph_visit_seconds", "time spent in nodes", ("node",), registry=registry)
        self._tokens = Counter("tokengraph_tokens", "tokens read and written", ("node", "kind"), registry=registry)
        self.reloads = Counter("tokengraph_spec_reloads", "new versions of the spec", ("outcome",), registry=registry)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """A response has ended."""
        self._of(self._requests, endpoint, str(status)).inc()
        self._of(self._seconds, endpoint).observe(seconds)

    def run(self, events: Iterable[Event]) -> None:
        """A run has ended."""
        for event in events:
            self._of(self._visits, event.node, event.kind).inc()
            self._of(self._visit_seconds, event.node).inc(event.milliseconds / 1000)
            self._of(self._tokens, event.node, "read").inc(event.prompt_tokens)
            self._of(self._tokens, event.node, "written").inc(event.generated_tokens)

    def _of(self, metric: M, *labels: str) -> M:
        """The child of a metric; finding it anew each time would cost more than counting."""
        key = (metric, labels)
        if key not in self._children:
            self._children[key] = metric.labels(*labels)
        return cast(M, self._children[key])

    def text(self) -> bytes:
        """Everything, in Prometheus' text form."""
        return generate_latest(self._registry)
