"""Answers with native calls: a turn of the model, its calls, their results as turns of the tools, another turn, and so on.

The dialogue goes through the model's own chat template every time, which is told of the tools, so that the model reads calls
and results as it was trained to. What went wrong with a call is its result, for the model to read. The user sees the text
of all turns; calls and results are in the trace.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from math import exp

from experts.engines.base import Engine
from experts.engines.requests import NEVER, GenerateRequest, Generation, Message
from router.errors import GraphError
from router.spec.wording import did_you_mean, listed, quoted
from router.tools.answer import CalledAnswer, MadeCall, Shown
from router.tools.ask import Consent
from router.tools.call import ToolCaller, ToolResult
from router.tools.errors import ToolDenied, ToolError, UnknownTool
from router.tools.native.reader import OPEN, CallReader, FoundCall
from router.tools.native.turns import Turn, call_id, schema_of, written_arguments

Write = Callable[[str], None]
Draw = Callable[[GenerateRequest, Write | None], Awaitable[Generation]]
_BETWEEN = "\n\n"


@dataclass
class _Answer:
    """An answer as it grows."""

    messages: tuple[Message, ...]
    prompt_tokens: int = 0
    text: str = ""
    shown: list[Shown] = field(default_factory=list)
    calls: list[MadeCall] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    spliced: int = 0


class NativeCaller:
    """Writes answers of a model that calls by its chat template's own means.

    Args:
        tools: who calls each tool, by its name.
        calls: how many an answer may have, failed ones included; then the model is offered none.
    """

    def __init__(self, engine: Engine, tools: Mapping[str, ToolCaller], *, calls: int = 16) -> None:
        self._engine, self._callers, self._limit = engine, tools, calls
        self._tells = False
        self._schemas = tuple(schema_of(caller.tools[name]) for name, caller in tools.items())

    async def answer(
        self, request: GenerateRequest, *, draw: Draw, consent: Consent | None = None, write: Write | None = None
    ) -> CalledAnswer:
        """Answers a dialogue.

        Args:
            draw: generates a turn; tells who listens what is written, piece by piece.
            consent: asks the user before a tool with side effects runs. For one such call an answer: a run that stops
                to ask begins the node anew, and would make the earlier call twice.
            write: receives the text that the user sees.

        Raises:
            GraphError: the chat template says nothing of tools.
            ToolError: nothing came of the calls, and the model wrote no text either.
        """
        answer = _Answer(request.messages)
        while True:
            last = len(answer.calls) >= self._limit
            asked = self._asked(request, answer, offers=not last)
            reader = CallReader()
            turn = Turn.read(await draw(asked, None if write is None else _text_of(reader, write)))
            _show(reader.finish(), write)
            self._take(answer, turn, write)
            room = request.max_tokens - len(answer.logprobs)
            if not turn.calls or last or room < 1:
                return self._whole(answer, turn, asked)
            await self._call_all(answer, turn, asked, consent)

    def _asked(self, request: GenerateRequest, answer: _Answer, *, offers: bool) -> GenerateRequest:
        """The request for the next turn: the tools are told, or a call is as good as impossible."""
        room = request.max_tokens - len(answer.logprobs)
        asked = replace(request, messages=answer.messages, max_tokens=room)
        if not offers:
            opening = self._engine.token_id(OPEN)
            silent = {} if opening is None else {opening: NEVER}
            return replace(asked, logit_bias={**request.logit_bias, **silent})
        told = replace(asked, tools=self._schemas)
        if not self._tells and self._engine.render(told) == self._engine.render(asked):
            raise GraphError(
                f"expected a chat template that tells {self._engine.info.model} of tools, found one that does not. Use a "
                "model that was trained for function calling, or `tool_format: tokens`"
            )
        self._tells = True
        return told

    def _take(self, answer: _Answer, turn: Turn, write: Write | None) -> None:
        """The text of a turn; white space sets it apart from the next one."""
        if not answer.logprobs:
            answer.prompt_tokens = turn.generation.prompt_tokens
        answer.logprobs += turn.generation.logprobs
        answer.text += turn.shown
        answer.shown += turn.tokens(self._engine)
        if turn.calls and turn.shown and not turn.shown[-1].isspace():
            answer.text += _BETWEEN
            answer.shown += [(each, 0.0, {each: 0.0}) for each in self._engine.encode(_BETWEEN)]
            _show([_BETWEEN], write)

    async def _call_all(self, answer: _Answer, turn: Turn, asked: GenerateRequest, consent: Consent | None) -> None:
        """Runs the calls of a turn; the model reads what came of each, at most half of the context that is left."""
        first, probability = len(answer.calls), exp(turn.generation.mean_logprob)
        answer.messages += (turn.asked(first),)
        used = turn.generation.prompt_tokens + len(turn.generation.token_ids)
        for place, call in enumerate(turn.calls):
            result = await self._call(answer, call, consent)
            answer.calls.append(MadeCall(written_arguments(call), result, probability))
            read = self._engine.encode(result.text)
            read = read[: max(0, self._engine.info.context_length - used) // 2]
            used += len(read)
            answer.spliced += len(read)
            whole = len(read) == len(self._engine.encode(result.text))
            text = result.text if whole else self._engine.decode(read, plain=True)
            answer.messages += (Message("tool", text, tool_call_id=call_id(first + place)),)

    async def _call(self, answer: _Answer, call: FoundCall, consent: Consent | None) -> ToolResult:
        try:
            if call.problem is not None:
                raise call.problem
            if len(answer.calls) >= self._limit:
                raise self._too_many()
            if call.name not in self._callers:
                fix = did_you_mean(call.name, self._callers, f"there are {listed(self._callers)}")
                raise UnknownTool(f"expected the name of a tool, found {quoted(call.name)}; {fix}")
            caller = self._callers[call.name]
            if caller.tools[call.name].side_effects and any(map(self._asked_for, answer.calls)):
                raise ToolDenied(f"{call.name}: expected one call with side effects an answer, found a second one")
        except ToolError as problem:
            return ToolResult(call.name, None, f"error: {problem}", problem, cut=False, seconds=0.0)
        return await caller.call(call.name, call.arguments, consent=consent)

    def _too_many(self) -> ToolDenied:
        return ToolDenied(f"expected at most {self._limit} calls in an answer, found one more. Answer without it")

    def _asked_for(self, made: MadeCall) -> bool:
        """Whether the user was asked for a call, whatever the answer was."""
        result = made.result
        return result.arguments is not None and self._callers[result.tool].tools[result.tool].side_effects

    def _whole(self, answer: _Answer, turn: Turn, asked: GenerateRequest) -> CalledAnswer:
        """The answer. Calls of its last turn are not made: there are no tokens left to go on, or no calls."""
        error = answer.calls[-1].result.error if answer.calls else None
        if turn.calls and error is None:
            error = self._too_many()
        if error is not None and not answer.text.strip():
            raise error
        tops = tuple(top for _, _, top in answer.shown)
        generation = replace(
            turn.generation, token_ids=tuple(token for token, _, _ in answer.shown), text=answer.text,
            logprobs=tuple(logprob for _, logprob, _ in answer.shown), top_logprobs=tops if any(tops) else (),
            prompt_tokens=answer.prompt_tokens,
        )  # fmt: skip
        mean = sum(answer.logprobs) / len(answer.logprobs)
        drawn, transcript = len(answer.logprobs), turn.generation.token_ids
        return CalledAnswer(generation, transcript, tuple(answer.calls), drawn, answer.spliced, mean, asked)


def _text_of(reader: CallReader, write: Write) -> Write:
    return lambda text: _show(reader.push(text), write)


def _show(pieces: list[str | FoundCall] | list[str], write: Write | None) -> None:
    for piece in pieces:
        if isinstance(piece, str) and write is not None:
            write(piece)
