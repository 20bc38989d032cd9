"""A request of vLLM's whose input comes in parts: each part is what a request of a client adds to the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from vllm.engine.protocol import StreamingInput
from vllm.inputs.engine import tokens_input
from vllm.sampling_params import RequestOutputKind, SamplingParams

Start = Callable[[Any, SamplingParams], Any]
"""Starts vLLM's request from its inputs and its settings; yields its outputs."""


class Session:
    """A request of vLLM's whose input comes in parts.

    Args:
        kind: what its requests have in common.

    Attributes:
        busy: a request of the session runs.
        closing: what ends it; kept, so that it is not lost.
    """

    def __init__(self, name: str, kind: tuple[object, ...]) -> None:
        self.name = name
        self.busy = False
        self.closing: asyncio.Task[None] | None = None
        self._kind = kind
        self._tokens: list[int] = []  # those whose keys and values are there
        self._inputs: asyncio.Queue[StreamingInput] = asyncio.Queue()
        self._outputs: Any = None
        self._timer: asyncio.TimerHandle | None = None

    def continues(self, kind: tuple[object, ...], tokens: Sequence[int]) -> bool:
        """Whether a request with such a prompt can go on here now."""
        known = len(self._tokens)
        return not self.busy and kind == self._kind and len(tokens) > known and list(tokens[:known]) == self._tokens

    async def ask(self, prompt: Any, sampling: SamplingParams, start: Start) -> AsyncGenerator[Any, None]:
        """The outputs of one request, the last one ``finished``.

        Args:
            prompt: the whole prompt.
        """
        self._stop_timer()
        tokens = list(prompt["prompt_token_ids"])
        parts = sampling.clone()
        parts.output_kind = RequestOutputKind.DELTA  # of all parts, whatever the client of this one wants
        whole = None
        written: list[int] = []
        new = tokens_input(tokens[len(self._tokens) :], cache_salt=prompt.get("cache_salt"))
        self._inputs.put_nowait(StreamingInput(new, parts))
        if self._outputs is None:
            self._outputs = start(self._fed(), parts)
        async for output in self._outputs:
            output.prompt_token_ids = tokens
            written += output.outputs[0].token_ids
            output.finished = output.outputs[0].finish_reason is not None
            if output.finished:
                self._tokens = tokens + written[:-1]  # nothing was computed after the last token
            if sampling.output_kind == RequestOutputKind.DELTA:
                yield output
            elif whole is None:
                whole = output
            else:
                whole.add(output, aggregate=True)
            if output.finished:
                break
        if whole is not None:
            yield whole

    def expire(self, seconds: float, then: Callable[[], None]) -> None:
        """Calls ``then`` unless another request comes before."""
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    async def close(self) -> None:
        """Ends vLLM's request."""
        self._stop_timer()
        if self._outputs is not None:
            await self._outputs.aclose()

    async def _fed(self) -> AsyncGenerator[StreamingInput, None]:
        while True:
            yield await self._inputs.get()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
