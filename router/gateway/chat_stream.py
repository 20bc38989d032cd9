"""A chat answer as chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router.gateway.answered import Form
from router.gateway.gateway import Call
from router.gateway.live import LiveAnswer
from router.gateway.own_calls import made_calls, waiting_call
from router.gateway.report import chat_logprobs, detail_of, finish_reason, usage_of
from router.gateway.responses import ChatChunk, ChatLogprobs, ChunkDelta, FinishReason, ToolCallEntry
from router.gateway.tool_calls import ToolCallReader
from router.runtime.result import RunResult
from router.trace import Delta, Event


class ChatStream:
    """The chunks of all choices of one request.

    The log-probabilities come with the last chunk of a choice: an engine tells them when it has written the answer.
    """

    def __init__(self, put: Callable[[object], None], call: Call, form: Form, *, logprobs: bool) -> None:
        self._put, self._call, self._form, self._logprobs = put, call, form, logprobs
        self._told: dict[int, int] = {}
        self._choices: dict[int, LiveAnswer] = {}
        self._begun: set[int] = set()
        self._readers: dict[int, ToolCallReader] = {}

    def send(self, place: int, item: Delta | Event) -> None:
        """Text or an event of the run of one choice."""
        self._choice(place).push(item)
        if not isinstance(item, Delta):
            self._tell(place, item)

    def finish(self, results: Sequence[RunResult], *, usage: bool) -> None:
        """What is left of each choice, and how it ended. The last chunk has the detail of the runs.

        Args:
            usage: add a chunk without choices that has the usage. Only who asks for it expects one.
        """
        detail = detail_of(self._call.exchange.request_id, results)
        for place, result in enumerate(results):
            if result.pending is None:
                self._choice(place).finish(result.answer)
            self._begin(place)
            for event in result.events if place not in self._told else ():  # of a run that went on
                self._tell(place, event)
            reason = finish_reason(result)
            if waiting := waiting_call(result, self._told.get(place, 0)):
                self._chunk(place, {"tool_calls": [waiting]})
                reason = "tool_calls"
            if place in self._readers:
                self._pieces(place, self._readers[place].finish())
                reason = "tool_calls" if self._readers[place].calls else reason
            last = self._one(place, {}, reason, chat_logprobs(result) if self._logprobs else None)
            if place == len(results) - 1 and not usage:
                last["tokengraph"] = detail
            self._put(last)
        if usage:
            self._put(self._head() | {"usage": usage_of(self._call.visits), "tokengraph": detail})

    def _choice(self, place: int) -> LiveAnswer:
        if place not in self._choices:
            if self._form.reads_calls:
                self._readers[place] = ToolCallReader()
            self._choices[place] = LiveAnswer(lambda text: self._text(place, text))
        return self._choices[place]

    def _tell(self, place: int, event: Event) -> None:
        """Shows the calls of a visit, if they are to be shown."""
        if self._form.shows_calls and (calls := made_calls(event, self._told.setdefault(place, 0))):
            self._begin(place)
            self._told[place] += len(calls)
            self._chunk(place, {"tool_calls": calls})

    def _begin(self, place: int) -> None:
        if place not in self._begun:
            self._begun.add(place)
            self._chunk(place, {"role": "assistant", "content": ""})

    def _text(self, place: int, text: str) -> None:
        self._begin(place)
        if place not in self._readers:
            self._chunk(place, {"content": text})
            return
        self._pieces(place, self._readers[place].push(text))

    def _pieces(self, place: int, pieces: Sequence[str | ToolCallEntry]) -> None:
        for piece in pieces:
            self._chunk(place, {"content": piece} if isinstance(piece, str) else {"tool_calls": [piece]})

    def _chunk(self, place: int, delta: ChunkDelta) -> None:
        self._put(self._one(place, delta))

    def _one(
        self, place: int, delta: ChunkDelta, reason: FinishReason | None = None, logprobs: ChatLogprobs | None = None
    ) -> ChatChunk:
        chunk = self._head()
        chunk["choices"] = [{"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]
        return chunk

    def _head(self) -> ChatChunk:
        call = self._call
        return {
            "id": f"chatcmpl-{call.exchange.request_id}", "object": "chat.completion.chunk", "created": call.created,
            "model": call.model, "choices": [],
        }  # fmt: skip
