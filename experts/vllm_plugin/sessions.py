"""Requests that continue one another, as a token pair makes them, run as one request of vLLM's.

At each switch between the models a new request would compute again what does not fill a block of the prefix cache.
vLLM's input streaming keeps a request's keys and values in place until more of its input comes: so only what is new is
computed. A request names its session in ``vllm_xargs``; all else about it, and the answer, is as ever. One that does not
fit (another prompt than the session's tokens and more, a seed, a grammar) runs by itself.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind, SamplingParams

from experts.engines.vllm.wire import SESSION_ARGUMENT
from experts.vllm_plugin.masks import SLOT
from experts.vllm_plugin.session import Session, Start

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IDLE_SECONDS = 10.0


class Sessions:
    """The sessions of one server; those that are idle for long, or the least recent ones of too many, are ended.

    Args:
        most: sessions at once, at most; each keeps a place among vLLM's running requests.
        seconds: after which an idle session is ended.
    """

    def __init__(self, most: int, seconds: float = _IDLE_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def guard(self, engine: Any) -> None:
        """Lets requests that name a session go on with it. To be called before any other guard: those come first."""
        generate = engine.generate

        def guarded(prompt: Any, sampling: Any, *arguments: Any, **keywords: Any) -> AsyncIterator[Any]:
            name = _named(sampling)
            alone: AsyncIterator[Any] = generate(prompt, sampling, *arguments, **keywords)
            if name is None or not _fits(prompt, sampling):
                return alone

            def start(inputs: Any, first: SamplingParams) -> Any:
                return generate(inputs, first, f"session-{uuid4().hex}", **keywords)

            kind = _kind(prompt, sampling, keywords.get("lora_request"))
            return self._run(name, kind, prompt, sampling, start, alone)

        engine.generate = guarded

    async def end(self, name: str) -> bool:
        """Ends a session, if it is there and idle; whether it was."""
        session = self._sessions.get(name)
        if session is None or session.busy:
            return False
        del self._sessions[name]
        await session.close()
        return True

    async def _run(
        self, name: str, kind: tuple[object, ...], prompt: Any, sampling: SamplingParams, start: Start,
        alone: AsyncIterator[Any],
    ) -> AsyncGenerator[Any, None]:  # fmt: skip
        session = self._find(name, kind, prompt["prompt_token_ids"])
        outputs = alone if session is None else self._go_on(session, prompt, sampling, start)
        async with aclosing(outputs) as stream:  # type: ignore[type-var]
            async for output in stream:
                yield output

    def _find(self, name: str, kind: tuple[object, ...], tokens: Sequence[int]) -> Session | None:
        """The session that a request goes on with, or a new one; none if it has to run by itself."""
        session = self._sessions.get(name)
        if session is not None and not session.continues(kind, tokens):
            if session.busy:
                return None
            self._forget(session)
            session = None
        if session is None:
            idle = (one for one in self._sessions.values() if not one.busy)
            if len(self._sessions) >= self._most:
                if (oldest := next(idle, None)) is None:
                    return None
                self._forget(oldest)
            session = self._sessions[name] = Session(name, kind)
        self._sessions.move_to_end(name)
        session.busy = True  # until its outputs, which the caller takes at once, have ended
        return session

    async def _go_on(
        self, session: Session, prompt: Any, sampling: SamplingParams, start: Start
    ) -> AsyncGenerator[Any, None]:
        ended = False
        try:
            async with aclosing(session.ask(prompt, sampling, start)) as outputs:
                async for output in outputs:
                    ended = output.outputs[0].finish_reason in ("stop", "length")
                    yield output
        finally:
            session.busy = False
            if ended:
                session.expire(self._seconds, lambda: self._forget(session))
            else:  # the client has gone, or vLLM failed: what is computed by now is not known
                self._forget(session)

    def _forget(self, session: Session) -> None:
        if self._sessions.get(session.name) is session:
            del self._sessions[session.name]
        session.closing = asyncio.get_running_loop().create_task(session.close())


def _named(sampling: Any) -> str | None:
    """The session that a request names; the argument is taken away."""
    arguments = dict(sampling.extra_args or {}) if isinstance(sampling, SamplingParams) else {}
    if SESSION_ARGUMENT not in arguments:
        return None
    name = arguments.pop(SESSION_ARGUMENT)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise VLLMValidationError(
            f"expected {SESSION_ARGUMENT} to be up to 64 letters, digits, - and _, found {name!r}. Correct the request",
            parameter=SESSION_ARGUMENT,
        )
    sampling.extra_args = arguments or None
    return name


def _fits(prompt: Any, sampling: SamplingParams) -> bool:
    """Whether a request can be part of a session. A seed counts from a request's beginning, and so does a grammar."""
    unfit = (sampling.seed, sampling.prompt_logprobs, sampling.logprob_token_ids, sampling.structured_outputs)
    return (
        isinstance(prompt, dict)
        and prompt.get("type") == "token"
        and sampling.n == 1
        and not sampling.stop
        and sampling.output_kind != RequestOutputKind.CUMULATIVE
        and all(one is None for one in unfit)
    )


def _kind(prompt: Any, sampling: SamplingParams, lora: Any) -> tuple[object, ...]:
    """What may not change within a session: keys and values depend on it, or vLLM fixes it at the beginning."""
    mask = (sampling.extra_args or {}).get(SLOT)
    return None if lora is None else lora.lora_name, mask, prompt.get("cache_salt"), sampling.logprobs
