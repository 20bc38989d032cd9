"""Everything that the endpoints share: the graph that is served, who may ask it, and what is noted of each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from router.errors import DeadlineExceeded
from router.gateway.affinity import Affinity
from router.gateway.deployment import Deployment
from router.gateway.exchange import Exchange
from router.gateway.keys import Keys
from router.gateway.limits import Account
from router.gateway.logs import log
from router.gateway.metrics import Metrics
from router.gateway.telemetry import Finished, Telemetry
from router.gateway.traces import Trace, Traces
from router.trace import Event


@dataclass(frozen=True)
class Settings:
    """How a gateway works.

    Attributes:
        seconds: longest time for one request; then it ends with an error.
        body: longest request body in bytes.
        traces: how many traces are kept.
        log_prompts: write what users ask, and the answers, into the log.
    """

    seconds: float = 600.0
    body: int = 16 << 20
    traces: int = 1000
    log_prompts: bool = False


@dataclass
class Gateway:
    """One running gateway.

    Attributes:
        problem: what is wrong with the newest version of the spec; None if it is the one that is served.
        going: threads of runs that go on with the user's answer right now.
    """

    deployment: Deployment
    keys: Keys
    settings: Settings = field(default_factory=Settings)
    telemetry: Telemetry = field(default_factory=Telemetry)
    affinity: Affinity = field(default_factory=Affinity)
    metrics: Metrics = field(default_factory=Metrics)
    problem: str | None = None
    going: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.traces = Traces(self.settings.traces)


@dataclass
class Call:
    """One request to an endpoint that asks the graph: what it uses, and what is noted of it.

    Attributes:
        model: the model that was asked for, once that is known to exist.
        runs: the visits of its runs that were made for it, whichever way these ended.
        embedded: tokens that it had turned into vectors.
        deadline: ``time.monotonic()`` value at which the client gets an error in place of an answer.
    """

    gateway: Gateway
    exchange: Exchange
    body: bytes
    account: Account | None
    deployment: Deployment
    operation: str = ""
    model: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    runs: list[list[Event]] = field(default_factory=list)
    embedded: int = 0

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.gateway.settings.seconds

    @property
    def owner(self) -> str | None:
        """The name of the API key; None if there are no keys."""
        return None if self.account is None else self.account.name

    @property
    def scope(self) -> str:
        """Dialogues of another scope are other dialogues."""
        return f"{self.owner}\n{self.model}"

    @property
    def visits(self) -> list[Event]:
        """Those of all runs."""
        return [event for run in self.runs for event in run]

    def listener(self) -> Callable[[Event], None]:
        """Notes the visits of one more run."""
        run: list[Event] = []
        self.runs.append(run)
        return run.append

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Ends what is not done by the deadline.

        Raises:
            DeadlineExceeded: it was not.
        """
        try:
            async with asyncio.timeout(self.deadline - time.monotonic()) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                "expected an answer before the request's deadline, found none. Ask for less, or let the server wait longer"
            ) from error

    def settle(self, error: Exception | None) -> None:
        """Books what the request took: the account, metrics, the trace, spans, the log."""
        gateway, exchange = self.gateway, self.exchange
        runs, every = tuple(tuple(run) for run in self.runs if run), self.visits
        gateway.metrics.run(every)
        read, written = sum(e.prompt_tokens for e in every), sum(e.generated_tokens for e in every)
        read += self.embedded
        if self.account is not None:
            self.account.charge(read + written)
        if not self.model:
            return
        kind = None if error is None else type(error).__name__
        said = None if error is None else str(error) or kind
        gateway.traces.add(
            exchange.request_id, Trace(self.model, self.created, self.owner, runs, said)
        )  # fmt: skip
        if gateway.telemetry:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers.items()}
            seconds = time.perf_counter() - exchange.started
            gateway.telemetry.record(
                Finished(self.operation, self.model, exchange.request_id, headers, seconds, runs, kind)
            )
        exchange.said |= {
            "model": self.model, "prompt_tokens": read, "completion_tokens": written,
            "nodes": [event.node for event in every],
        }  # fmt: skip
        if gateway.settings.log_prompts:
            exchange.said["prompts"] = [event.query for event in every]
            exchange.said["answers"] = [answer for e in every if (answer := getattr(e, "answer", None)) is not None]


def write_log(exchange: Exchange, owner: str | None) -> None:
    """One line a request."""
    seconds = time.perf_counter() - exchange.started
    fields = {
        "request_id": exchange.request_id, "path": exchange.path, "status": exchange.status, "key": owner,
        "milliseconds": round(1000 * seconds, 2), **exchange.said,
    }  # fmt: skip
    log.info("request", extra={"fields": fields})
