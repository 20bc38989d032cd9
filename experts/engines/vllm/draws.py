"""The tokens that a server draws, one after the other, with their log-probabilities.

vLLM reports log-probabilities of the whole vocabulary, of at most 128 tokens by name. Renormalising those of a set of
tokens gives the log-probabilities over that set, exactly.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from experts.engines.answer import Draw
from experts.engines.requests import GenerateRequest, Generation, TokenId
from experts.engines.vllm.deferring import Deferring
from experts.engines.vllm.rescoring import known, rescored
from experts.engines.vllm.structured import constraint
from experts.engines.vllm.transport import Transport
from experts.engines.vllm.wire import Choice, Completion, CompletionCall
from experts.errors import EngineError, EngineUnavailable, RequestError

COMPLETIONS = "/v1/completions"

_MOST_NAMED = 128
_MOST_ALLOWED = 1024
_SEEDS = 2**63


class Drawing:
    """Draws the tokens of one request.

    Args:
        model: the server's name of the model or adapter.
        prompt: token ids.
        end_ids: tokens after which the server need not go on.
        limit: tokens that fit, at most.
        vocabulary_size: number of tokens.
        arguments: what tokengraph's plugin in the server reads.
        deferring: ends the draws with the defer token where the server leaves the next one to another model.
        session: what names the session to the server that the request continues.
    """

    def __init__(
        self,
        transport: Transport,
        model: str,
        request: GenerateRequest,
        prompt: tuple[TokenId, ...],
        end_ids: Sequence[TokenId],
        limit: int,
        vocabulary_size: int,
        arguments: Mapping[str, str | int | float] | None = None,
        deferring: Deferring | None = None,
        session: Mapping[str, str | int | float] | None = None,
    ) -> None:
        for name in ("first_token_ids", "allowed_token_ids"):
            if (count := len(set(getattr(request, name) or ()))) > _MOST_ALLOWED:
                raise RequestError(
                    f"expected at most {_MOST_ALLOWED} different {name}, which is what vLLM can do, found {count}. "
                    "Give fewer, or use engine: local"
                )
        self._transport = transport
        self._model = model
        self._request = request
        self._prompt = prompt
        self._stops = (*end_ids, *request.stop_token_ids)
        self._limit = limit
        self._alternatives = min(request.top_logprobs, vocabulary_size)
        self._drawn: tuple[TokenId, ...] = ()
        self._arguments = dict(arguments or {})
        self._deferring = deferring
        self._session = dict(session or {})

    async def draws(self, *, streamed: bool) -> AsyncGenerator[Draw, None]:
        """The draws, until the server ends. Closing the iterator stops the server.

        Args:
            streamed: hand out each when it is drawn, instead of all at the end.
        """
        allowed = _distinct(self._request.allowed_token_ids)
        if first := _distinct(self._request.first_token_ids):
            yield await self._choose(first, report=True)
        if len(allowed) > _MOST_NAMED:
            while len(self._drawn) < self._limit:
                yield await self._choose(allowed, report=False)
        elif len(self._drawn) < self._limit:
            async with aclosing(self._go_on(allowed, streamed)) as rest:
                async for choice in rest:
                    for position in range(len(choice.token_ids or ())):
                        yield self._draw(choice, position, allowed)  # one call draws all: no need to count them

    async def complete(self, generation: Generation) -> Generation:
        """The generation, its alternatives asked for again where the server has lost them."""
        if not self._request.top_logprobs or self._request.allowed_token_ids is not None:
            return generation

        async def again(at: int) -> Draw:
            before, token = generation.token_ids[:at], generation.token_ids[at]
            call = self._call((token,), named=(), prompt=self._prompt + before, max_tokens=1)
            return self._draw(await self._once(call), 0, ())

        return await rescored(generation, self._alternatives, again)

    async def _go_on(self, allowed: tuple[TokenId, ...], streamed: bool) -> AsyncGenerator[Choice, None]:
        call = self._call(
            allowed, named=allowed, stream=streamed, vllm_xargs=self._deciding(),
            structured_outputs=constraint(self._request.structure),
        )  # fmt: skip
        deadline = self._request.deadline
        if streamed:
            async with aclosing(self._transport.stream(COMPLETIONS, call, Completion, deadline=deadline)) as events:
                async for event in events:
                    for choice in event.choices:
                        yield _checked(choice)
        else:
            yield await self._once(call)

    async def _choose(self, choices: tuple[TokenId, ...], *, report: bool) -> Draw:
        """One token among many: as many requests as it takes to have the log-probabilities of all."""
        parts = [choices[start : start + _MOST_NAMED] for start in range(0, len(choices), _MOST_NAMED)]
        calls = [self._call(choices, named=part, max_tokens=1) for part in parts]
        calls[0] = calls[0].model_copy(update={"vllm_xargs": self._deciding()})
        # The prompt is read once: the others find it in the prefix cache.
        drawn = await self._once(calls[0])
        found = [drawn, *await asyncio.gather(*map(self._once, calls[1:]))]
        if self._is_defer(token := _token(drawn, 0)):
            return Draw(token, 0.0)
        logprobs = {token: value for choice in found for token, value in _reported(choice, 0).items()}
        normal = _normalised({token: logprobs[token] for token in choices})
        self._drawn += (token,)
        first = None
        if report:
            first = {choice: normal[choice] for choice in choices}
        return Draw(token, normal[token], self._best(normal), first)

    def _draw(self, choice: Choice, position: int, allowed: tuple[TokenId, ...]) -> Draw:
        token = _token(choice, position)
        if self._is_defer(token):
            return Draw(token, 0.0)
        reported = _reported(choice, position)
        if allowed:
            reported = _normalised({token: reported[token] for token in allowed})
            return Draw(token, reported[token], self._best(reported))
        assert choice.logprobs is not None
        return Draw(token, choice.logprobs.token_logprobs[position], self._best(known(reported)))

    def _best(self, logprobs: dict[TokenId, float]) -> dict[TokenId, float] | None:
        if not self._request.top_logprobs:
            return None
        best = sorted(logprobs.items(), key=lambda item: -item[1])[: self._request.top_logprobs]
        return dict(best)

    def _call(self, allowed: tuple[TokenId, ...], *, named: tuple[TokenId, ...], **changes: Any) -> CompletionCall:
        """What comes after the tokens drawn so far."""
        request, sampling = self._request, self._request.sampling
        # Another seed after each restart, or the same random numbers would be used again.
        seed = None if sampling.seed is None else (sampling.seed + len(self._drawn)) % _SEEDS
        settings = {
            "prompt": self._prompt + self._drawn,
            "max_tokens": self._limit - len(self._drawn),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
            "stop_token_ids": self._stops,
            "allowed_token_ids": allowed or None,
            "logit_bias": dict(request.logit_bias) or None,
            "logprobs": len(named) or request.top_logprobs,
            "logprob_token_ids": named or None,
            "vllm_xargs": self._arguments or None,
        }
        return CompletionCall(model=self._model, **(settings | changes))

    def _deciding(self) -> dict[str, str | int | float] | None:
        """The plugin's arguments of a call that decides about tokens; others only look at log-probabilities."""
        deferring = {} if self._deferring is None else self._deferring.arguments(len(self._drawn))
        return self._arguments | self._session | deferring or None

    def _is_defer(self, token: TokenId) -> bool:
        return self._deferring is not None and token == self._deferring.token

    async def _once(self, call: CompletionCall) -> Choice:
        answer = await self._transport.post(COMPLETIONS, call, Completion, deadline=self._request.deadline)
        choice = _checked(answer.choices[0])
        if not choice.token_ids:
            raise EngineUnavailable(f"expected tokens of {self._transport.url}, found none. Try again")
        return choice


def _distinct(tokens: Sequence[TokenId] | None) -> tuple[TokenId, ...]:
    return tuple(dict.fromkeys(tokens or ()))


def _checked(choice: Choice) -> Choice:
    if choice.finish_reason == "abort":
        raise EngineUnavailable("expected an answer of the vLLM server, found that it aborted the request. Try again")
    if choice.token_ids is None or (choice.token_ids and choice.logprobs is None):
        raise EngineError(
            "expected token ids and log-probabilities of the server, found none: it is not vLLM. Give the url of a vLLM server"
        )
    return choice


def _token(choice: Choice, position: int) -> TokenId:
    assert choice.token_ids is not None, "checked"
    return TokenId(choice.token_ids[position])


def _reported(choice: Choice, position: int) -> dict[TokenId, float]:
    assert choice.logprobs is not None, "checked"
    return {TokenId(token): value for token, value in choice.logprobs.others(position).items()}


def _normalised(logprobs: dict[TokenId, float]) -> dict[TokenId, float]:
    best = max(logprobs.values())
    total = best + math.log(sum(math.exp(value - best) for value in logprobs.values()))
    return {token: value - total for token, value in logprobs.items()}
