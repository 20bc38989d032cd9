"""Only engines of one model are replicas."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experts.engines.base import Capability, EngineInfo
from experts.engines.config import Rule, ScriptedWorker
from experts.engines.replicas.engine import ReplicatedEngine
from experts.engines.scripted import ScriptedEngine
from experts.errors import (
    EngineError,
)
from tests.experts.engines.replicas.switchable import SwitchableEngine


class Like(SwitchableEngine):
    """With facts of its own."""

    def __init__(self, lacks: frozenset[Capability] = frozenset(), **facts: object) -> None:
        super().__init__()
        self._lacks = lacks
        self._facts = facts

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, **self._facts)  # type: ignore[arg-type]

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - self._lacks


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Like(vocabulary_size=7), "vocabulary_size 7 instead of"),
        (Like(context_length=7), "context_length 7 instead of 1000000"),
        (Like(fingerprint="f", vocabulary_size=7), "fingerprint f instead of .* and vocabulary_size"),
        (Like(frozenset({Capability.LOGPROBS})), "capabilities that differ by logprobs"),
        (ScriptedEngine(ScriptedWorker(engine="scripted", rules=(Rule(),))), "fingerprint"),
    ],
)
def test_different_models_are_no_replicas(other: ScriptedEngine, difference: str) -> None:
    with pytest.raises(EngineError, match=f"found http://b with {difference}"):
        ReplicatedEngine({"http://a": Like(), "http://b": other})
    ReplicatedEngine({"a": Like(model="here"), "b": Like(model="there")})


def test_at_least_one() -> None:
    with pytest.raises(EngineError, match="at least one"):
        ReplicatedEngine({})
