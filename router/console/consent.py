"""Asking on the terminal before a tool changes something outside."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from router.console.terminal import note, one_line, printable
from router.spec import GraphSpec
from router.tools.ask import PendingCall


def can_ask() -> bool:
    """Whether somebody sits there who can say yes."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(call: PendingCall) -> bool:
    """Asks on the terminal; anything but a yes is a no."""
    note(one_line(call.description))
    try:
        answer = input(f"run {written(call)}? [y/N] ")
    except EOFError:
        sys.stdout.write("\n")
        return False
    return answer.strip().casefold() in ("y", "yes")


def written(call: PendingCall) -> str:
    """The call on one line, whole: nobody can agree to what is left out."""
    given = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return printable(f"{call.tool}({given})")


def how_to_answer(graph: Path | None, checkpoints: Path, thread_id: str) -> str:
    """The command that agrees to a pending call, and its alternative."""
    where = ["--checkpoints", str(checkpoints), "--thread", thread_id]
    command = ["tokengraph", "query", *([] if graph is None else ["--graph", str(graph)]), *where, "--resume"]
    return f"{shlex.join(command)} --approve    (or --deny)"


@contextmanager
def kept_for_asking(spec: GraphSpec, checkpoints: Path | None) -> Iterator[Path | None]:
    """Where runs are kept: the user's own file, or one for as long as the command runs if a tool may have to ask."""
    if checkpoints is not None or not spec.tools or not can_ask():
        yield checkpoints
        return
    with TemporaryDirectory(prefix="tokengraph-") as folder:
        yield Path(folder) / "checkpoints.sqlite"
