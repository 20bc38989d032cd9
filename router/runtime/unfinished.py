"""What becomes known of a visit that does not come to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from router.errors import TokengraphError
from router.runtime.visits.base import Visit
from router.trace import EVENT, Failed, Stopped
from router.types import NodeId


@contextmanager
def telling(
    node: NodeId, visit: Visit, *, before: Sequence[Mapping[str, Any]] = (), pauses: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Tells the run's listener of a visit that fails or is stopped, and gives an error the events of its run.

    Args:
        before: the events of the visits before.
        pauses: what is raised if the visit is to begin anew later.
    """
    started = time.perf_counter()

    def stopped(reason: Literal["cut off", "waits for a yes"]) -> Stopped:
        return Stopped(
            node=node, query=visit.query, milliseconds=milliseconds_since(started), reason=reason, **visit.meter.taken()
        )

    try:
        yield
    except TokengraphError as error:
        failed = Failed(
            node=node, query=visit.query, error=str(error), milliseconds=milliseconds_since(started),
            **visit.meter.taken(error),
        )  # fmt: skip
        error.events = (*map(EVENT.validate_python, before), failed)
        visit.options.tell(failed)
        raise
    except asyncio.CancelledError:
        visit.options.tell(stopped("cut off"))
        raise
    except pauses:
        visit.options.tell(stopped("waits for a yes"))
        raise


def milliseconds_since(started: float) -> float:
    """Since a value of ``time.perf_counter()``."""
    return 1000 * (time.perf_counter() - started)
