"""Answers with calls: text, a tool token, its arguments, the result, more text ("ToolkenGPT", section 3.3).

The transcript that the model reads is ``...<tool_add>(2,3)=5...``; the user sees the results and not the calls. Of a call
that fails the error is spliced in place of the result, for the model to read, and the next-ranked token of that place is
tried; so a wrong tool gives way to a better one, and in the end to plain text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import exp
from time import perf_counter

from experts.engines.base import Engine
from experts.engines.requests import NEVER, FinishReason, GenerateRequest, Generation, TokenId
from router.tools.answer import CalledAnswer, MadeCall, Shown
from router.tools.ask import Consent
from router.tools.base import Tool
from router.tools.call import ToolCaller, ToolResult
from router.tools.errors import ToolDenied, ToolError
from router.tools.tokens.arguments import ArgumentWriter
from router.tools.tokens.pattern import call_pattern

Draw = Callable[[GenerateRequest], Awaitable[Generation]]


@dataclass(frozen=True)
class CallableTool:
    """A tool that a model may call.

    Attributes:
        token: the text of its token.
        bias: added to the token's logit.
        caller: runs it.
    """

    tool: Tool
    token: str
    caller: ToolCaller
    bias: float = 0.0


@dataclass(frozen=True)
class CallLimits:
    """Bounds of one answer.

    Attributes:
        calls: how many, failed ones included; after that the model writes text only.
        attempts: how many at one place; then the model's best ordinary token is taken there.
        argument_tokens: the longest arguments of a call.
    """

    calls: int = 16
    attempts: int = 3
    argument_tokens: int = 200


@dataclass
class _Answer:
    """An answer as it grows."""

    prompt: tuple[TokenId, ...]
    left: int
    transcript: tuple[TokenId, ...] = ()
    calls: list[MadeCall] = field(default_factory=list)
    text: str = ""
    shown: list[Shown] = field(default_factory=list)
    drawn: int = 0
    spliced: int = 0
    logprobs: list[float] = field(default_factory=list)

    @property
    def so_far(self) -> tuple[TokenId, ...]:
        return self.prompt + self.transcript


class ToolDecoder:
    """Writes answers of a model that has tool tokens.

    Args:
        tools: by the id of their tokens.
        banned: the model's tokens that are never to be written, those of tools that are not offered. What other nodes
            have given the engine takes no part anyway.
    """

    def __init__(
        self, engine: Engine, tools: Mapping[TokenId, CallableTool], *, banned: Iterable[TokenId] = (),
        limits: CallLimits | None = None,
    ) -> None:  # fmt: skip
        self._engine, self._tools, self._limits = engine, tools, limits or CallLimits()
        self._patterns = {token: call_pattern(entry.tool) for token, entry in tools.items()}
        self._writer = ArgumentWriter(engine, self._limits.argument_tokens)
        self._banned = tuple(banned)

    async def answer(
        self, request: GenerateRequest, *, draw: Draw, consent: Consent | None = None,
        write: Callable[[str], None] | None = None,
    ) -> CalledAnswer:  # fmt: skip
        """Answers a request.

        Args:
            draw: generates a piece of text, and shows it to who listens.
            consent: asks the user before a tool with side effects runs. For one such call an answer: a run that stops
                to ask begins the node anew, and would make the earlier call twice.
            write: told the results.

        Raises:
            ToolError: nothing came of the calls, and the model wrote no text either.
        """
        request = replace(request, logit_bias={**request.logit_bias, **dict.fromkeys(self._banned, NEVER)})
        answer = _Answer(self._engine.render(request), request.max_tokens)
        asked, first = request, None
        while (room := self._room(answer)) > 0:
            piece = await draw(
                replace(
                    asked, max_tokens=room, first_token_ids=first,
                    stop_token_ids=(*request.stop_token_ids, *self._tools), logit_bias=self._biases(request, answer),
                )
            )  # fmt: skip
            called = piece.stop_reason if piece.stop_reason in self._tools else None
            self._take(answer, piece, called is not None)
            if not isinstance(called, int):
                return self._whole(answer, piece.finish_reason, piece.stop_reason)
            first = await self._place(request, answer, called, exp(piece.logprobs[-1]), consent, write)
            asked = replace(request, messages=(), tools=(), forced_ids=(), prompt_ids=answer.so_far)
        return self._whole(answer, "length", None)

    def _room(self, answer: _Answer) -> int:
        return min(answer.left - answer.drawn, self._engine.info.context_length - len(answer.so_far))

    def _biases(self, request: GenerateRequest, answer: _Answer) -> dict[TokenId, float]:
        if len(answer.calls) >= self._limits.calls:
            return self._silenced(request)
        own = {token: max(NEVER, min(-NEVER, entry.bias)) for token, entry in self._tools.items() if entry.bias}
        return {**request.logit_bias, **own}

    def _silenced(self, request: GenerateRequest) -> dict[TokenId, float]:
        """No calls."""
        return {**request.logit_bias, **dict.fromkeys(self._tools, NEVER)}

    def _take(self, answer: _Answer, piece: Generation, calls: bool) -> None:
        """A piece of text; its last token, if that calls a tool, comes with the call."""
        kept = len(piece.token_ids) - calls
        answer.transcript += piece.token_ids[:kept]
        answer.text += piece.text
        tops = piece.top_logprobs or ({},) * len(piece.token_ids)
        answer.shown += list(zip(piece.token_ids, piece.logprobs, tops, strict=True))[:kept]
        answer.logprobs += piece.logprobs
        answer.drawn += len(piece.token_ids)

    async def _place(
        self, request: GenerateRequest, answer: _Answer, token: TokenId, probability: float, consent: Consent | None,
        write: Callable[[str], None] | None,
    ) -> tuple[TokenId, ...] | None:  # fmt: skip
        """Calls tools at one place until one gives a result; if none does, the token to go on with."""
        place, failed = answer.so_far, []
        while True:
            made = await self._call(request, answer, token, probability, consent)
            if made is None:
                return None
            if made.result.error is None:
                answer.text += made.result.text
                answer.shown += [(each, 0.0, {each: 0.0}) for each in self._engine.encode(made.result.text)]
                if write is not None:
                    write(made.result.text)
                return None
            failed.append(token)
            over = len(failed) >= self._limits.attempts or len(answer.calls) >= self._limits.calls
            if self._room(answer) < 1:
                return None
            biases = self._biases(request, answer) | dict.fromkeys(self._tools if over else failed, NEVER)
            next_ranked = await self._engine.generate(
                replace(
                    request, messages=(), tools=(), forced_ids=(), prompt_ids=place, max_tokens=1, stop=(),
                    stop_token_ids=(*request.stop_token_ids, *self._tools), logit_bias=biases, top_logprobs=0,
                )
            )  # fmt: skip
            (token,) = next_ranked.token_ids
            if token not in self._tools:
                return (token,)
            probability = exp(next_ranked.logprobs[0])
            answer.drawn += 1

    async def _call(
        self, request: GenerateRequest, answer: _Answer, token: TokenId, probability: float, consent: Consent | None
    ) -> MadeCall | None:
        """Writes one call, runs it, and splices what came of it; none is made if the answer has no room left for it."""
        entry, begun = self._tools[token], perf_counter()
        answer.transcript += (token,)
        written = ""
        try:
            if entry.tool.side_effects and any(self._asked_for(made) for made in answer.calls):
                raise ToolDenied(
                    f"{entry.tool.name}: expected one call with side effects an answer, found a second one"
                )
            arguments = await self._writer.write(
                replace(
                    request, messages=(), tools=(), forced_ids=(), prompt_ids=answer.so_far, top_logprobs=0,
                    max_tokens=answer.left - answer.drawn, stop_token_ids=(), logit_bias=self._silenced(request),
                ),
                self._patterns[token], entry.tool.name,
            )  # fmt: skip
            answer.transcript += arguments.token_ids
            answer.drawn += arguments.drawn
            if not arguments.whole:
                return None
            written = arguments.text
            result = await entry.caller.call(entry.tool.name, written, consent=consent)
        except ToolError as problem:
            seconds = perf_counter() - begun
            result = ToolResult(entry.tool.name, None, f"error: {problem}", problem, cut=False, seconds=seconds)
        # Half of what is left of the context, so that there is room to go on.
        spliced = self._engine.encode(f"={result.text}")
        spliced = spliced[: max(0, self._engine.info.context_length - len(answer.so_far)) // 2]
        answer.transcript += spliced
        answer.spliced += len(spliced)
        made = MadeCall(written, result, probability, entry.token)
        answer.calls.append(made)
        return made

    def _asked_for(self, made: MadeCall) -> bool:
        """Whether the user was asked for a call, whatever the answer was."""
        entry = next(entry for entry in self._tools.values() if entry.tool.name == made.result.tool)
        return entry.tool.side_effects and made.result.arguments is not None

    def _whole(self, answer: _Answer, finish: FinishReason, reason: TokenId | str | None) -> CalledAnswer:
        last = answer.calls[-1].result.error if answer.calls else None
        if last is not None and not answer.text.strip():
            raise last
        ids = tuple(token for token, _, _ in answer.shown)
        logprobs = tuple(logprob for _, logprob, _ in answer.shown)
        tops = tuple(top for _, _, top in answer.shown)
        generation = Generation(
            token_ids=ids, text=answer.text, logprobs=logprobs, finish_reason=finish, prompt_tokens=len(answer.prompt),
            top_logprobs=tops if any(tops) else (), stop_reason=reason,
        )  # fmt: skip
        mean = sum(answer.logprobs) / len(answer.logprobs) if answer.logprobs else 0.0
        return CalledAnswer(generation, answer.transcript, tuple(answer.calls), answer.drawn, answer.spliced, mean)
