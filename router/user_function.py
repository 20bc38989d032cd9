"""Functions of the user's own, by ``package.module:function``: tools, checkers, behaviours."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any


def load_user_function(reference: str, *folders: Path) -> Callable[..., Any]:
    """The function that a reference names.

    Args:
        reference: ``package.module:function``; the module is installed, in one of the folders, or in the current one.

    Raises:
        ImportError: there is none, or the module's own code fails; the message says what was found, and where.
    """
    module, _, name = reference.partition(":")
    if not module or not name:
        raise ImportError(f"{reference!r}, without a {'function' if module else 'module'}")
    # The installed command has its own folder in sys.path, not the one that it is called in. These come last, so that
    # nothing in them hides an installed package; they stay, as functions may import later.
    for folder in (str(each.absolute()) for each in (*folders, Path())):
        if folder not in sys.path:
            sys.path.append(folder)
    try:
        found = getattr(importlib.import_module(module), name)
    except (
        Exception,
        SystemExit,
    ) as problem:  # the module is a stranger's code: whatever it raises is its user's mistake
        said = problem.msg if isinstance(problem, SyntaxError) else problem
        raise ImportError(f"{reference!r} ({type(problem).__name__}: {said}{_place(problem)})") from problem
    if not callable(found):
        raise ImportError(f"{reference!r}, which is {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # callable(): all that can be known of it


def _place(problem: BaseException) -> str:
    """Where the user's code failed: the last line of it, as the mistake may show only in a library that it calls."""
    if isinstance(problem, SyntaxError) and problem.filename and Path(problem.filename).is_file():
        return f", {problem.filename}:{problem.lineno}"
    lines = [
        line
        for line in extract_tb(problem.__traceback__)[1:]
        if not line.filename.startswith("<") and line.filename != importlib.__file__
    ]
    if not lines:
        return ""
    own = Path(lines[0].filename).parent
    last = [line for line in lines if Path(line.filename).is_relative_to(own)][-1]
    return f", {last.filename}:{last.lineno}"
