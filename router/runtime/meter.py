"""What a visit has taken until now: all that is known of one that does not end by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest
from experts.errors import DeadlineExceeded, EngineError


class Taken(TypedDict):
    """Fields of an event."""

    prompt_tokens: int
    generated_tokens: int
    activated_parameters: int


_NOTHING: Taken = {"prompt_tokens": 0, "generated_tokens": 0, "activated_parameters": 0}


class Meter:
    """Counts what the models of one visit read and write. A prompt is measured only when somebody wants to know.

    Attributes:
        written: tokens; of an answer that is not streamed, none are known before its end.
        whole: what was taken, where that is known at once.
    """

    def __init__(self) -> None:
        self.written = 0
        self.whole: Taken | None = None
        self._asked: tuple[Engine, GenerateRequest, int] | None = None

    def asks(self, engine: Engine, request: GenerateRequest) -> None:
        """A model begins with a request; it goes on where those before it ended."""
        self._asked = engine, request, self.written

    def taken(self, error: Exception | None = None) -> Taken:
        """What was read and written.

        Args:
            error: what ended the visit. An engine that refuses a request, or is not there, has read nothing.
        """
        refused = isinstance(error, EngineError) and not isinstance(error, DeadlineExceeded) and not self.written
        if self.whole is not None or self._asked is None or refused:
            return self.whole or _NOTHING
        engine, request, before = self._asked
        try:
            # Without its deadline: when that has passed, there still was a prompt.
            read = max(0, len(engine.render(replace(request, deadline=None))) - before)
        except EngineError:  # it was stopped before it was refused
            read = 0
        activated = engine.info.activated_parameters
        return {"prompt_tokens": read, "generated_tokens": self.written, "activated_parameters": activated}
