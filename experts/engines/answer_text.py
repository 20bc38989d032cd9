"""From token ids to the text of an answer, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from experts.engines.requests import TokenId

_INCOMPLETE = "\ufffd"


class AnswerText:
    """Decodes an answer as it grows, and watches for stop texts.

    Text is held back while it may still change or turn out to be a stop text: at the end of a byte sequence that is
    not a whole character yet, and where it could be the beginning of a stop text.

    Attributes:
        text: what was let out so far; the whole answer after ``finish``.
        stopped: the stop text that was found.
    """

    def __init__(self, decode: Callable[[Sequence[TokenId]], str], stop: tuple[str, ...] = ()) -> None:
        self.text = ""
        self.stopped: str | None = None
        self._decode = decode
        self._stop = stop
        self._held = ""
        # Only the last few ids are decoded anew: those that were read since the text was last complete, and those
        # before them, because some decoders treat the first token of a text specially.
        self._window: list[TokenId] = []
        self._read = 0
        self._read_text = ""

    @property
    def holds_back(self) -> bool:
        """Whether the text ends in what may be the beginning of a character or of a stop text."""
        return bool(self._held) or self._read < len(self._window)

    def push(self, token_id: TokenId) -> str:
        """Takes the next token; returns the text that became certain, which is often none."""
        self._window.append(token_id)
        decoded = self._decode(self._window)
        new = decoded[len(self._read_text) :]
        if not new or new.endswith(_INCOMPLETE):
            return ""
        self._window = self._window[self._read :]
        self._read = len(self._window)
        self._read_text = self._decode(self._window)
        return self._let_out(new)

    def finish(self) -> str:
        """Ends the answer; returns the text that was still held back."""
        if self.stopped is not None:
            return ""
        rest = self._decode(self._window)[len(self._read_text) :]
        return self._let_out(rest) + self._release()

    def _let_out(self, new: str) -> str:
        candidate = self._held + new
        found = [(at, order) for order, stop in enumerate(self._stop) if (at := candidate.find(stop)) >= 0]
        if found:
            at, order = min(found)
            self.stopped, self._held, candidate = self._stop[order], "", candidate[:at]
        else:
            certain = len(candidate) - _overlap(candidate, self._stop)
            self._held, candidate = candidate[certain:], candidate[:certain]
        self.text += candidate
        return candidate

    def _release(self) -> str:
        held, self._held = self._held, ""
        self.text += held
        return held


def _overlap(text: str, stops: tuple[str, ...]) -> int:
    """Length of the longest end of the text that begins a stop text."""
    return max(
        (n for stop in stops for n in range(1, min(len(stop) - 1, len(text)) + 1) if stop.startswith(text[-n:])),
        default=0,
    )
