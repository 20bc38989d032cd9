"""``tokengraph chat``: a conversation with the graph, on a terminal or line by line from a pipe."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from experts.engines.requests import Message
from router.console.answer import write_resumed, write_run
from router.console.consent import ask, can_ask, kept_for_asking, written
from router.console.errors import show_error
from router.console.graphs import graph_path
from router.console.query import show_trace
from router.console.terminal import note
from router.errors import TokengraphError
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.spec import load_spec
from router.tools.errors import ToolDenied

_HELP = """\
/help   this list
/trace  how the last answer came about, and what it cost
/new    begin a new conversation
/quit   leave (so does Ctrl-D); Ctrl-C stops an answer"""


def chat(graph: Path | None, *, checkpoints: Path | None, thread_id: str | None, trace: bool) -> int:
    """Talks until the input ends; returns the exit code: 1 if a line that came from a pipe could not be answered."""
    spec = load_spec(graph_path(graph))
    interactive = can_ask()
    with kept_for_asking(spec, checkpoints) as kept, asyncio.Runner() as runner:
        router = Router(spec, checkpoints=kept)
        talk = _Chat(router, checkpoints, thread_id, trace, asks=kept is not None)
        try:
            if interactive:
                talk.greet()
            for line in _typed() if interactive else _piped():
                if not talk.take(line, runner):
                    break
        finally:
            runner.run(router.aclose())
    return 1 if talk.failures and not interactive else 0


class _Chat:
    """A conversation. It is remembered here, or in the file of checkpoints if there is one."""

    def __init__(
        self, router: Router, checkpoints: Path | None, thread_id: str | None, trace: bool, *, asks: bool
    ) -> None:
        self._router, self._checkpoints, self._trace, self._asks = router, checkpoints, trace, asks
        self._thread = None if checkpoints is None else thread_id or _new_thread()
        self._history: list[Message] = []
        self._last: RunResult | None = None
        self.failures = 0

    def greet(self) -> None:
        nodes = len(self._router.spec.nodes)
        note(f"{self._router.spec.name}: {nodes} {'node' if nodes == 1 else 'nodes'}. /help lists the commands.")
        self._name_thread()

    def take(self, line: str, runner: asyncio.Runner) -> bool:
        """Does what a line asks for; False if that is to leave."""
        match line.split():
            case []:
                pass
            case ["/quit" | "/exit"]:
                return False
            case ["/help"]:
                note(_HELP)
            case ["/new"]:
                self._history.clear()
                self._last = None
                self._thread = self._thread and _new_thread()
                note("A new conversation.")
                self._name_thread()
            case ["/trace"]:
                if self._last is None:
                    note("There is no answer yet.")
                else:
                    show_trace(self._last, self._router.spec)
            case [command] if command.startswith("/") and "/" not in command[1:]:
                note(f"{command} is no command. /help lists them.")
            case _:
                self._ask(line, runner)
        return True

    def _ask(self, line: str, runner: asyncio.Runner) -> None:
        question = Message("user", line)
        asked = [question] if self._thread else [*self._history, question]
        try:
            result = self._answered(asked, runner)
        except TokengraphError as error:
            self.failures += 1
            show_error(error)
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            sys.stdout.write("\n")
            note("Stopped.")
        else:
            self._history += [question, Message("assistant", result.answer)]
            self._last = result
            if self._trace:
                show_trace(result, self._router.spec)

    def _answered(self, asked: list[Message], runner: asyncio.Runner) -> RunResult:
        thread = self._thread or (_new_thread() if self._asks else None)
        result = runner.run(write_run(self._router, asked, thread_id=thread))
        while result.pending is not None and thread is not None:
            if not can_ask():
                raise ToolDenied(
                    f"expected a yes or a no to {written(result.pending)}, found nobody to ask. Answer with `tokengraph "
                    f"query --checkpoints {self._checkpoints} --thread {thread} --resume --approve` (or --deny)"
                )
            result = runner.run(write_resumed(self._router, thread, approve=ask(result.pending)))
        return result

    def _name_thread(self) -> None:
        if self._thread:
            note(f"Go on with it later: --checkpoints {self._checkpoints} --thread {self._thread}")


def _new_thread() -> str:
    return f"chat-{datetime.now():%Y%m%d-%H%M%S-%f}"


def _typed() -> Iterator[str]:
    """Lines from the keyboard, with history and editing where the platform has readline."""
    with suppress(ModuleNotFoundError):
        import readline  # noqa: F401  # importing it is what turns editing on
    while True:
        try:
            yield input("> ").strip()
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")


def _piped() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    for line in sys.stdin:
        yield line.strip()
