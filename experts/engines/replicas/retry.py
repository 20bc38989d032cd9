"""When a request that a replica has lost is sent again."""

from __future__ import annotations

import asyncio
import random

from experts.engines.replicas.lease import Lease
from experts.engines.replicas.options import ReplicaOptions
from experts.engines.replicas.queue import Queue
from experts.engines.replicas.replica import Replica
from experts.errors import EngineOverloaded, EngineUnavailable


class Attempts:
    """The attempts of one request: each replica that is up once, then a few more after short random pauses.

    Attributes:
        tried: the replicas that have failed it.
    """

    def __init__(self, queue: Queue, options: ReplicaOptions) -> None:
        self.tried: set[Replica] = set()
        self._queue = queue
        self._repeats = options.repeats
        self._pause = options.pause

    async def failed(self, lease: Lease, error: EngineUnavailable) -> None:
        """Returns when the request may be sent again.

        Raises:
            EngineUnavailable: the given error, if it has been sent often enough.
        """
        self.tried.add(lease.replica)
        if not self._queue.untried(self.tried):
            # An overloaded server has said when to come back; the caller decides whether to wait so long.
            if self._repeats == 0 or isinstance(error, EngineOverloaded):
                raise error
            self._repeats -= 1
            await asyncio.sleep(random.uniform(0, self._pause))
            self._pause *= 2
        lease.replica.retried += 1
