"""Errors as a user sees them: what was expected, what was found, what to do, and where."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from rich.console import Console
from rich.text import Text

from router.console.terminal import console, printable
from router.errors import (
    DataError,
    GraphError,
    MaskError,
    SpecError,
    SpecProblem,
    TokengraphError,
    TokenHeadError,
    WorkerPlanError,
)

_USER_ERRORS = (SpecError, DataError, GraphError, TokenHeadError, MaskError, WorkerPlanError)
_WIDTH = 140


def show_error(error: TokengraphError | OSError) -> int:
    """Writes an error to standard error and returns the exit code: 2 for wrong input, 1 for a run that failed."""
    err = console(stderr=True)
    if isinstance(error, SpecError):
        for problem in error.problems:
            _show_problem(err, problem)
    else:
        _say(err, Text.assemble(("error: ", "bold red"), printable(_message(error))))
    return 2 if isinstance(error, _USER_ERRORS) else 1


def _message(error: TokengraphError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _show_problem(err: Console, problem: SpecProblem) -> None:
    at = f" at {problem.path}" if problem.path else ""
    text = f"expected {problem.expected}{at}, found {problem.found}"
    _say(err, Text.assemble((printable(f"{problem.where}: "), "bold"), ("error: ", "bold red"), printable(text)))
    line = _line(Path(problem.where.file), problem.where.line)
    if line:
        number, before = str(problem.where.line), line[: problem.where.column - 1]
        _say(err, Text.assemble((f"  {number} | ", "dim"), printable(line)))
        _say(err, Text.assemble((f"  {' ' * len(number)} | ", "dim"), " " * _cells(before), ("^", "bold red")))
    _say(err, Text.assemble(("  fix: ", "bold"), printable(problem.fix)))


def _say(err: Console, text: Text) -> None:
    err.print(text, soft_wrap=True)


def _line(file: Path, number: int) -> str:
    """A line of a file; empty if there is none, or if it is too long to be of help."""
    if not file.is_file():
        return ""
    with file.open(encoding="utf-8", errors="replace") as lines:
        line = next((line for count, line in enumerate(lines, start=1) if count == number), "").rstrip()
    return line if len(line) <= _WIDTH else ""


def _cells(text: str) -> int:
    """Columns that text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
