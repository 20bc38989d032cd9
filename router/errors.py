"""The one exception tree of tokengraph.

::

    TokengraphError
    ├── SpecError               the YAML is wrong (with file, line, column)
    ├── GraphError              the graph cannot be built or run as written
    ├── TokenHeadError          functional tokens are missing or do not fit
    ├── DataError               a data file is wrong (with file and line)
    ├── RunError                a run failed
    │   ├── BudgetExceeded      a run used up its steps, tokens, seconds or cost
    │   └── NothingPending      no call waits for the answer that was given
    └── EngineError             an engine failed
        ├── EngineUnavailable   ... and another one may not
        │   └── EngineOverloaded  ... because too many wait for it
        ├── DeadlineExceeded    ... to answer in time
        ├── CapabilityError     ... because it cannot do that
        ├── RequestError        ... because the request is wrong
        ├── CheckpointError     ... because the model's files are
        ├── MaskError           ... because a mask of experts does not fit the model
        └── WorkerError         ... because its server cannot be started or does not stay up
            └── WorkerPlanError   ... on this machine, as the spec has it
"""

from __future__ import annotations

from dataclasses import dataclass

from experts.errors import (
    CapabilityError,
    CheckpointError,
    DeadlineExceeded,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    MaskError,
    RequestError,
    TokengraphError,
    WorkerError,
    WorkerPlanError,
)

__all__ = [
    "BudgetExceeded", "CapabilityError", "CheckpointError", "DataError", "DeadlineExceeded", "EngineError",
    "EngineOverloaded", "EngineUnavailable", "GraphError", "Location", "MaskError", "NothingPending", "RequestError",
    "RunError", "SpecError", "SpecProblem", "TokenHeadError", "TokengraphError", "WorkerError",
    "WorkerPlanError",
]  # fmt: skip


@dataclass(frozen=True)
class Location:
    """A place in a text file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class SpecProblem:
    """One thing that is wrong with a spec.

    Attributes:
        where: the place in the file.
        path: the key path, such as ``nodes.master.worker``.
        expected: what would be right.
        found: what stands there.
        fix: what to do about it.
    """

    where: Location
    path: str
    expected: str
    found: str
    fix: str

    def __str__(self) -> str:
        at = f" at {self.path}" if self.path else ""
        return f"{self.where}: expected {self.expected}{at}, found {self.found}. Fix: {self.fix}"


class SpecError(TokengraphError):
    """A spec is invalid; ``problems`` lists everything that is wrong with it, in file order."""

    def __init__(self, problems: tuple[SpecProblem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class GraphError(TokengraphError):
    """The graph cannot be built or run as written."""


class TokenHeadError(TokengraphError):
    """Functional tokens are missing, damaged, or made for another model or graph."""


class DataError(TokengraphError):
    """A data file is wrong."""

    def __init__(self, where: Location | str, expected: str, found: str) -> None:
        super().__init__(f"{where}: expected {expected}, found {found}")


class RunError(TokengraphError):
    """A run failed."""


class NothingPending(RunError):
    """A run was answered that waits for no answer, or for one to another call."""


class BudgetExceeded(RunError):
    """A run used up one of its budgets."""

    def __init__(self, what: str, limit: float, used: float) -> None:
        super().__init__(
            f"budget of {limit:g} {what} exceeded ({used:g} used). Raise budget.{what} in the spec, "
            "or look at the trace for a cycle"
        )
        self.what, self.limit, self.used = what, limit, used
