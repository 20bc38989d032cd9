"""Whether engines may stand in for one another."""

from __future__ import annotations

from collections.abc import Mapping

from experts.engines.base import Engine
from experts.errors import EngineError

_FACTS = ("fingerprint", "vocabulary_size", "context_length")


def check_same_model(engines: Mapping[str, Engine]) -> None:
    """Compares every engine with the first.

    Args:
        engines: by name.

    Raises:
        EngineError: there is none, or two differ in the model's files, its vocabulary, its context or what they can do.
    """
    if not engines:
        raise EngineError("expected at least one replica, found none. Name its URL or start it")
    (first_name, first), *others = engines.items()
    for name, engine in others:
        differing = [
            f"{fact} {getattr(engine.info, fact)} instead of {getattr(first.info, fact)}"
            for fact in _FACTS
            if getattr(engine.info, fact) != getattr(first.info, fact)
        ]
        if engine.capabilities != first.capabilities:
            missing, more = first.capabilities - engine.capabilities, engine.capabilities - first.capabilities
            differing.append(f"capabilities that differ by {', '.join(sorted(missing | more))}")
        if differing:
            raise EngineError(
                f"expected replicas of one model, found {name} with {' and '.join(differing)} ({first_name}). "
                "Start them from the same files with the same arguments, or make them workers of their own"
            )
