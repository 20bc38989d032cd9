"""The root of the exception tree and the errors of engines. ``router.errors`` re-exports them and adds the rest.

They live here because ``experts`` never imports ``router``. Every message says what was expected, what was found and
what to do.
"""

from __future__ import annotations

from typing import Any


class TokengraphError(Exception):
    """Base of every error that tokengraph raises on purpose.

    Attributes:
        events: of an error that ended a run, what had happened in it until then (``router.trace.Event``).
    """

    events: tuple[Any, ...] = ()


class EngineError(TokengraphError):
    """An engine could not do what it was asked to do."""


class EngineUnavailable(EngineError):
    """The engine is not there now (a dead worker, a refused connection); trying again elsewhere may help."""


class EngineOverloaded(EngineUnavailable):
    """The engine is there, but too many requests wait for it already.

    Attributes:
        retry_after: seconds after which trying again may help.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(EngineError):
    """Nobody waits for the answer any more: the request's deadline has passed."""


class CapabilityError(EngineError):
    """The engine lacks a capability that the request needs."""


class RequestError(EngineError):
    """The request itself is wrong (token ids out of range, a prompt longer than the context, an unknown adapter)."""


class CheckpointError(EngineError):
    """A model's files are missing, incomplete or of a kind that is not accepted."""


class MaskError(EngineError):
    """A mask or a scan of experts is malformed, or does not fit the model."""


class WorkerError(EngineError):
    """A server of a worker cannot be started, or does not stay up."""


class WorkerPlanError(WorkerError):
    """The spec asks for servers that this machine cannot run; nothing was started."""
