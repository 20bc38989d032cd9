"""An answer as it can be shown while it is written."""

from __future__ import annotations

from collections.abc import Callable

from router.errors import EngineError
from router.trace import Delta, Event, Failed
from router.types import NodeId


class LiveAnswer:
    """Passes on the text of which it is certain that it belongs to the answer; working is never shown.

    Several branches may write at the same time: the first one is shown, the others come at the end.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._node: NodeId | None = None
        self._shown = ""

    def push(self, item: Delta | Event) -> None:
        """Text or an event of the run.

        Raises:
            EngineError: the node whose text was shown already failed, and another one would begin anew.
        """
        if isinstance(item, Delta):
            if not item.working and self._node in (None, item.node):
                self._node = item.node
                self._show(item.text)
        elif isinstance(item, Failed) and item.next and item.node == self._node:
            raise EngineError(
                f"expected {item.node} to finish the answer that it began, found that it failed: {item.error}. Ask again"
            )

    def finish(self, answer: str) -> None:
        """The whole answer: shows what is missing of it."""
        if answer.startswith(self._shown):
            self._show(answer[len(self._shown) :])
        else:
            others = answer.replace(self._shown, "", 1).strip() if self._shown in answer else answer
            self._show(f"\n\n{others}")

    def _show(self, text: str) -> None:
        if text:
            self._shown += text
            self._write(text)
