"""An answer on standard output, on a terminal as it is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import aclosing
from types import TracebackType

from rich.status import Status
from rich.text import Text

from router.console.terminal import console, one_line, write_answer
from router.runtime.options import NO_OPTIONS
from router.runtime.result import RunResult
from router.runtime.router import Query, Router, RunOptions
from router.spec import AnsweringNode, GraphSpec
from router.trace import Delta, Routed
from router.types import NodeId


async def write_run(
    router: Router, query: Query, *, thread_id: str | None = None, options: RunOptions = NO_OPTIONS
) -> RunResult:
    """Answers a query; into a pipe nothing but the answer is written, when it is complete."""
    with Progress() as progress:
        if not sys.stdout.isatty():
            result = await router.arun(query, thread_id=thread_id, options=options)
            write_result(result)
            return result
        answer = StreamedAnswer(last_nodes(router.spec), progress)
        async with aclosing(router.astream(query, thread_id=thread_id, options=options)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, RunResult):
                    if item.pending is None:
                        answer.finish(item.answer)
                    return item
                answer.show(item)
    raise AssertionError("a stream ends with its result")


async def write_resumed(router: Router, thread_id: str, *, approve: bool | None = None) -> RunResult:
    """Finishes the run of a thread and writes its answer, if there is one by then."""
    with Progress():
        result = await router.aresume(thread_id, approve=approve)
    write_result(result)
    return result


def write_result(result: RunResult) -> None:
    """Writes the answer; nothing while a call is pending."""
    if result.pending is None:
        write_answer(f"{result.answer}\n")


def last_nodes(spec: GraphSpec) -> frozenset[NodeId]:
    """Experts and pairs whose text is the answer to the user: nothing comes after them unless they fail."""
    goes_on = {edge.source for edge in spec.edges if spec.when(edge) not in ("error", "fallback")}
    return frozenset(
        name for name, node in spec.nodes.items() if isinstance(node, AnsweringNode) and name not in goes_on
    )


class Progress:
    """A line on standard error about what goes on while there is no answer yet; nothing where that is no terminal."""

    def __init__(self) -> None:
        err = console(stderr=True)
        self._room = max(20, err.width - 8)
        self._status = Status(Text("loading", "dim"), console=err, refresh_per_second=8) if err.is_terminal else None
        self._node, self._written = "", ""

    def working(self, node: str, text: str) -> None:
        """Shows the end of what a node is writing."""
        self._written = (self._written if node == self._node else "") + text
        self._node = node
        self.say(f"{node}: {one_line(self._written[-self._room :])}")

    def say(self, text: str) -> None:
        """Shows a remark."""
        if self._status is not None:
            self._status.update(Text(text[: self._room], "dim"))

    def stop(self) -> None:
        """Clears the line for good."""
        if self._status is not None:
            self._status.stop()

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class StreamedAnswer:
    """Writes pieces of an answer at once if they are sure to belong to it, and at the end what is missing.

    Several branches may write at the same time: the first one is shown, the others come with the end. If it turns out
    that another text is the answer (the node failed and another one answered), that is written below.

    Args:
        last: nodes whose text is the answer.
        write: receives the pieces.
    """

    def __init__(
        self, last: frozenset[NodeId], progress: Progress, write: Callable[[str], None] = write_answer
    ) -> None:
        self._last, self._progress, self._write = last, progress, write
        self._node: NodeId | None = None
        self._written = ""
        self._space = ""  # held back: an answer neither begins nor ends with it

    def show(self, item: object) -> None:
        """A piece of text or an event."""
        if isinstance(item, Routed) and item.chosen:
            self._say(f"→ {', '.join(str(pick.node) for pick in item.chosen)}")
        if not isinstance(item, Delta):
            return
        if item.working or item.node not in self._last:
            if self._node is None:
                self._progress.working(item.node, item.text)
        elif self._node in (None, item.node):
            self._node = item.node
            self._progress.stop()
            self._push(item.text)

    def finish(self, answer: str) -> None:
        """The whole answer."""
        self._progress.stop()
        if answer.startswith(self._written):
            self._write(f"{answer[len(self._written) :]}\n")
        else:
            self._write(f"\n{answer}\n")

    def _say(self, text: str) -> None:
        if self._node is None:
            self._progress.say(text)

    def _push(self, text: str) -> None:
        text = self._space + text if self._written else text.lstrip()
        kept = text.rstrip()
        self._space = text[len(kept) :]
        if kept:
            self._write(kept)
            self._written += kept
