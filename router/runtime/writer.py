"""Text on its way to whoever listens to a run."""

from __future__ import annotations

from collections.abc import Callable

from router.spec.models import AnsweringNode, GraphSpec
from router.trace import Delta, Event
from router.types import NodeId


class Writer:
    """Sends what one visit writes.

    Text is the answer (``Delta.working`` false) only where nothing but a failure can come after it; the white space
    around an answer is left out. Elsewhere it is working, and the answer follows in one piece when the branch has come
    to its end. So the pieces that are not working add up to the answer.

    Args:
        raw: all that is written is the answer as it is, since it goes on with a prompt.
    """

    def __init__(
        self, send: Callable[[Delta | Event], None], spec: GraphSpec, name: NodeId, *, raw: bool = False
    ) -> None:
        node = spec.nodes[name]
        self._send, self._name, self._raw = send, name, raw
        self._live = isinstance(node, AnsweringNode) and node.answer_after is None and not _goes_on(spec, name)
        self._sent = self._held = ""

    def write(self, text: str) -> None:
        """The next piece of the model's text."""
        if self._raw:
            self._answer(text)
            return
        if not self._live:
            self._send(Delta(node=self._name, text=text, working=True))
            return
        text = self._held + text
        if not self._sent:
            text = text.lstrip()
        certain = text.rstrip()
        self._held = text[len(certain) :]
        self._answer(certain)

    def end(self, event: Event, answer: str | None) -> None:
        """The visit is over; ``answer`` is what the user gets, if the branch ends here."""
        if answer is not None and answer.startswith(self._sent):
            self._answer(answer[len(self._sent) :])
        self._send(event)

    def _answer(self, text: str) -> None:
        if text:
            self._sent += text
            self._send(Delta(node=self._name, text=text))


def _goes_on(spec: GraphSpec, name: NodeId) -> bool:
    return any(edge.source == name and spec.when(edge) in ("always", "token", "low_confidence") for edge in spec.edges)
