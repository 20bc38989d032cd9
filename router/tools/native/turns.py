"""A turn of a model that may call natively: the calls, what the user sees, and how the chat template takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experts.engines.answer_text import AnswerText
from experts.engines.base import Engine
from experts.engines.requests import Generation, Message, TokenId, ToolCall
from router.tools.answer import Shown
from router.tools.base import Tool
from router.tools.native.reader import FoundCall, read_turn


def schema_of(tool: Tool) -> dict[str, Any]:
    """A tool as chat templates tell of it."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)}
    return {"type": "function", "function": function}


def call_id(number: int) -> str:
    """The id of an answer's call: nine letters and digits, which is all that Mistral's templates accept."""
    return f"call{number:05d}"


@dataclass(frozen=True)
class Turn:
    """What the model wrote in one go.

    Attributes:
        shown: the text before, between and after calls.
        calls: in order.
    """

    generation: Generation
    shown: str
    calls: tuple[FoundCall, ...]

    @classmethod
    def read(cls, generation: Generation) -> Turn:
        """Tells calls from text. In a turn that was cut off, nothing is called: the model was not done."""
        pieces = read_turn(generation.text)
        calls = tuple(piece for piece in pieces if isinstance(piece, FoundCall))
        if generation.finish_reason == "length":
            calls = ()
        return cls(generation, "".join(piece for piece in pieces if isinstance(piece, str)), calls)

    def asked(self, first: int) -> Message:
        """The assistant's turn. What is broken in it stays as it was written.

        Args:
            first: number of its first call in the answer.
        """
        broken = "".join(call.written for call in self.calls if call.problem is not None)
        calls = tuple(
            ToolCall(call.name, call.arguments, call_id(first + place))
            for place, call in enumerate(self.calls)
            if call.problem is None
        )
        return Message("assistant", self.shown + broken, calls)

    def tokens(self, engine: Engine) -> list[Shown]:
        """The tokens of the shown text; of a turn with calls, those of the text that comes before the first."""
        one = self.generation
        tops: Sequence[dict[TokenId, float]] = one.top_logprobs or ({},) * len(one.token_ids)
        tokens = list(zip(one.token_ids, one.logprobs, tops, strict=True))
        if not self.calls:
            return tokens
        if not self.shown:
            return []
        before = one.text.partition(self.calls[0].written)[0]
        text = AnswerText(lambda ids: engine.decode(ids, plain=True))
        kept = 0
        for place, token in enumerate(one.token_ids, start=1):
            text.push(token)
            if not before.startswith(text.text):
                break
            kept = kept if text.holds_back else place
        return tokens[:kept]


def written_arguments(call: FoundCall) -> str:
    """The arguments of a call as JSON; of what is no call, all that was written."""
    return call.written if call.problem is not None else json.dumps(call.arguments, ensure_ascii=False)
