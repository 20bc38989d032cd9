"""Masks of experts, and scans, on one vLLM server with tokengraph's plugin.

Several clients may share a server, so a mask is registered there under its digest: equal masks are one, and nobody
replaces another's. A server that has started again, or made room, no longer has it; then it is put again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import numpy as np
from pydantic import BaseModel, ConfigDict, RootModel

from experts.engines.checks import check_mask_name
from experts.engines.requests import NO_MASK
from experts.engines.vllm.transport import PLUGIN, Transport, UnknownMaskError
from experts.engines.vllm.wire import MASK_ARGUMENT, SCAN_ARGUMENT
from experts.errors import EngineError
from experts.moe.check import check_mask
from experts.moe.mask import ExpertMask
from experts.moe.shape import MoeShape

if TYPE_CHECKING:
    from experts.moe.activations import Activations

T = TypeVar("T")

Arguments = dict[str, str | int | float]
"""What a request carries as ``vllm_xargs``."""

WITHOUT_MASK: Arguments = {MASK_ARGUMENT: NO_MASK}


class Listed(BaseModel):
    """The answer of GET masks: digests by name, whose mask is everybody's, and what a mask has to fit."""

    model_config = ConfigDict(frozen=True)
    masks: Mapping[str, str]
    default: str | None = None
    shape: MoeShape


class _Found(BaseModel):
    model_config = ConfigDict(frozen=True)
    counts: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    tokens: int


class _Scan(RootModel[dict[str, _Found]]):
    """The answer of DELETE scans: what each prompt activated, by its key."""


class ServerMasks:
    """The masks that one client uses on one server.

    Args:
        shape: of the server's model.
    """

    def __init__(self, transport: Transport, shape: MoeShape) -> None:
        self.shape = shape
        self._transport = transport
        self._masks: dict[str, ExpertMask] = {}
        self._put: set[str] = set()

    @classmethod
    async def connect(cls, transport: Transport) -> ServerMasks:
        """Asks the server what masks have to fit."""
        return cls(transport, (await transport.get(f"{PLUGIN}/masks", Listed)).shape)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._masks)

    def set(self, masks: Mapping[str, ExpertMask]) -> None:
        """Replaces all masks. The server gets one when a request needs it.

        Raises:
            MaskError: one does not fit the model; then none is replaced.
        """
        for mask in masks.values():
            check_mask(mask, self.shape)
        self._masks = dict(masks)

    async def draws(
        self, name: str | None, draw: Callable[[Arguments], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        """What ``draw`` yields for the arguments of a request with a mask, once the server has the mask."""
        check_mask_name(name, self._masks)
        mask = None if name is None or name == NO_MASK else self._masks[name]
        arguments: Arguments = {}
        if name is not None:
            arguments = WITHOUT_MASK if mask is None else {MASK_ARGUMENT: mask.digest}
        given = again = False
        while True:
            if mask is not None and (again or mask.digest not in self._put):
                await self._register(mask)
            try:
                async with aclosing(draw(arguments)) as drawn:
                    async for item in drawn:
                        given = True
                        yield item
                return
            except UnknownMaskError:
                if given or again:
                    raise
                again = True

    async def scan(
        self, names: Sequence[str | None], ask: Callable[[int, Arguments], AsyncGenerator[Any, None]]
    ) -> list[Activations]:
        """What each of some prompts activates.

        Args:
            names: of each prompt's mask.
            ask: asks the server to read the prompt in that place, with these arguments.
        """
        scan = uuid4().hex

        async def one(place: int) -> None:
            def asked(arguments: Arguments) -> AsyncGenerator[Any, None]:
                return ask(place, {**WITHOUT_MASK, **arguments, SCAN_ARGUMENT: f"{scan}/{place}"})

            async with aclosing(self.draws(names[place], asked)) as drawn:
                async for _ in drawn:
                    pass

        await self._transport.put(f"{PLUGIN}/scans/{scan}")
        tasks = [asyncio.ensure_future(one(place)) for place in range(len(names))]
        try:
            await asyncio.gather(*tasks)
        except BaseException:  # also when cancelled: the server keeps a scan, and reads on, until it is told
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(EngineError):  # what went wrong before matters more
                await self._transport.delete(f"{PLUGIN}/scans/{scan}", _Scan)
            raise
        found = (await self._transport.delete(f"{PLUGIN}/scans/{scan}", _Scan)).root
        return [_activations(found[str(place)]) for place in range(len(names))]

    async def _register(self, mask: ExpertMask) -> None:
        digest = mask.digest
        await self._transport.put(f"{PLUGIN}/masks/{digest}", mask.model_copy(update={"name": digest}))
        self._put.add(digest)


def _activations(found: _Found) -> Activations:
    from experts.moe.activations import Activations  # loads torch, which a client needs for nothing else

    return Activations(np.array(found.counts, dtype=np.int64), np.array(found.weights, dtype=np.float64), found.tokens)
