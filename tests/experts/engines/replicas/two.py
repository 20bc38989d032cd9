"""Two switchable replicas behind one engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from experts.engines.replicas.circuit import State, Tolerance
from experts.engines.replicas.engine import ReplicatedEngine
from experts.engines.replicas.options import ReplicaOptions
from tests.experts.engines.replicas.switchable import SwitchableEngine

FAST = ReplicaOptions(
    max_concurrency=2, queue=2, pause=0.001, probe_every=0.01, check_every=0.05, probe_timeout=0.05,
    tolerance=Tolerance(consecutive=3),
)  # fmt: skip


class Two:
    """Two switchable replicas behind one engine."""

    def __init__(self, options: ReplicaOptions = FAST) -> None:
        self.a, self.b = SwitchableEngine(), SwitchableEngine()
        self.engine = ReplicatedEngine({"a": self.a, "b": self.b}, options)

    def state(self, name: str) -> State:
        return next(replica.state for replica in self.engine.snapshot().replicas if replica.name == name)

    @property
    def asked(self) -> tuple[int, int]:
        return self.a.asked, self.b.asked

    @property
    def outstanding(self) -> int:
        return sum(replica.outstanding for replica in self.engine.snapshot().replicas)


def home_of(two: Two) -> tuple[SwitchableEngine, SwitchableEngine]:
    """The one that was asked, and the other."""
    return (two.a, two.b) if two.a.asked else (two.b, two.a)


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
