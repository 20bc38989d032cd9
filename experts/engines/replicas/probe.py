"""Watching a replica from aside, so that no request has to find out how it is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from experts.engines.replicas.circuit import State
from experts.engines.replicas.options import ReplicaOptions
from experts.engines.replicas.replica import Replica
from experts.errors import EngineError

_LOG = logging.getLogger(__name__)


@runtime_checkable
class Probe(Protocol):
    """An engine that can be asked how it is."""

    async def healthy(self) -> bool:
        """Whether it would answer a request now."""
        ...


async def watch(replica: Replica, options: ReplicaOptions, changed: Callable[[], None]) -> None:
    """Probes a replica until it is cancelled: often while it is down, seldom while it is up.

    One whose engine is no ``Probe`` gets a request to try instead, as often as it would be probed while down.

    Args:
        changed: called when the circuit may have changed.
    """
    checked = time.monotonic()
    seen = replica.circuit.state
    while True:
        await asyncio.sleep(options.probe_every)
        state = replica.circuit.state
        if state is not State.CLOSED or time.monotonic() - checked >= options.check_every:
            healthy = await _ask(replica, options.probe_timeout)
            if healthy is not None:
                replica.circuit.probed(healthy)
                if not healthy and not replica.up:
                    replica.give_up()
            elif state is State.OPEN:
                replica.circuit.probed(True)
            if healthy is not False:
                checked = time.monotonic()
            changed()
        if replica.circuit.state is not seen:
            seen = replica.circuit.state
            _report(replica)


async def _ask(replica: Replica, seconds: float) -> bool | None:
    """None of an engine that cannot be asked."""
    if not isinstance(replica.engine, Probe):
        return None
    try:
        async with asyncio.timeout(seconds):
            healthy = await replica.engine.healthy()
    except TimeoutError:
        healthy = False
    except EngineError as error:
        replica.last_error = str(error)
        return False
    if not healthy and replica.up:  # of one that is down, the reason is known already
        replica.last_error = "it does not pass its health check"
    return healthy


def _report(replica: Replica) -> None:
    if replica.up:
        _LOG.info("replica %s: circuit %s", replica.name, replica.circuit.state)
    else:
        _LOG.warning("replica %s: circuit open (%s)", replica.name, replica.last_error)
