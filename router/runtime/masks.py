"""Masks of experts in runs: which one a node answers with, and how its engine gets it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Literal

from experts.engines.base import Capability, Engine
from experts.engines.requests import NO_MASK
from experts.errors import CapabilityError, RequestError
from experts.moe.check import check_mask
from experts.moe.mask import ExpertMask
from router.spec.models import ExpertNode, GraphSpec
from router.types import NodeId

_KEPT = 16


class NodeMasks:
    """The masks of a node, by the names in their files."""

    def __init__(self, name: NodeId, node: ExpertNode) -> None:
        self._name, self._node = name, node

    @cached_property
    def _own(self) -> ExpertMask | None:
        return None if self._node.expert_mask is None else ExpertMask.load(self._node.expert_mask)

    @cached_property
    def _named(self) -> dict[str, ExpertMask]:
        masks = [ExpertMask.load(file) for file in self._node.expert_masks]
        return {mask.name: mask for mask in ([] if self._own is None else [self._own]) + masks}

    @property
    def names(self) -> tuple[str, ...]:
        """What runs may ask for.

        Raises:
            MaskError: a file is missing, or no mask.
        """
        return tuple(self._named)

    def find(self, asked: str | ExpertMask | None) -> ExpertMask | Literal["none"] | None:
        """The mask to answer with: the one that a run asks for, by its name or itself, else the node's own.

        ``NO_MASK`` is for a run that asks for none; None for a node that has none, so that it has what its server may
        have for everybody.

        Raises:
            RequestError: the node has no mask of that name.
            MaskError: a file is missing, or no mask.
        """
        if asked is None:
            return self._own
        if isinstance(asked, ExpertMask):
            return asked
        if asked == NO_MASK:
            return NO_MASK
        if asked not in self._named:
            raise unknown_mask(asked, self.names, f"node {self._name}")
        return self._named[asked]


def mask_files(spec: GraphSpec) -> tuple[Path, ...]:
    """The files of all masks of a graph."""
    experts = [node for node in spec.nodes.values() if isinstance(node, ExpertNode)]
    return tuple(file for node in experts for file in (node.expert_mask, *node.expert_masks) if file is not None)


def refuse_mask(name: NodeId, asked: str | ExpertMask | None) -> None:
    """For nodes that answer with models but have no masks.

    Raises:
        RequestError: a run asks for one.
    """
    if asked is not None and asked != NO_MASK:
        raise unknown_mask(asked.name if isinstance(asked, ExpertMask) else asked, (), f"node {name}")


def unknown_mask(asked: str, known: tuple[str, ...], whose: str) -> RequestError:
    """The error of a run that asks for a mask that there is not."""
    names = ", ".join(sorted(known)) or "none"
    return RequestError(
        f"expected one of the expert masks of {whose} ({names}), found {asked[:80]!r}. Ask for one of those, or add it to "
        "the node's expert_masks"
    )


class EngineMasks:
    """The masks that runs use on one engine now, and those that were used last; registered by their digests.

    It may be used from several event loops at once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._wanted: dict[str, ExpertMask] = {}  # what was used last is last
        self._set: dict[str, ExpertMask] = {}
        self._using: Counter[str] = Counter()
        self._setting: Future[None] | None = None

    @asynccontextmanager
    async def use(self, mask: ExpertMask | Literal["none"] | None) -> AsyncIterator[str | None]:
        """Within the context requests may have the mask; yields what they call it.

        Raises:
            CapabilityError: the engine cannot mask experts.
            MaskError: the mask does not fit the model.
        """
        if not isinstance(mask, ExpertMask):
            yield mask
            return
        digest = mask.digest
        if digest not in self._set:
            await self._check(mask)
        with self._lock:
            self._using[digest] += 1
            self._wanted.pop(digest, None)
            self._wanted[digest] = mask
        try:
            await self._put()
            yield digest
        finally:
            with self._lock:
                self._using[digest] -= 1

    async def _check(self, mask: ExpertMask) -> None:
        if Capability.EXPERT_MASKS not in self._engine.capabilities:
            raise CapabilityError(
                f"expected an engine that can mask experts, found that {self._engine.info.model} cannot. It must be a "
                "mixture of experts; a vLLM worker needs mask_slots, and admin_token if it runs elsewhere"
            )
        check_mask(mask, await self._engine.moe_shape())

    async def _put(self) -> None:
        """Lets the engine have all masks that are wanted; one at a time does."""
        while True:
            with self._lock:
                if self._wanted.keys() <= self._set.keys():
                    return
                setting = self._setting
                if setting is None:
                    mine = self._setting = Future()
                    mine.set_running_or_notify_cancel()  # so who stops waiting does not cancel it for the others
                    self._drop()
                    masks = dict(self._wanted)
            if setting is not None:
                await asyncio.wrap_future(setting)
                continue
            try:
                await self._engine.set_masks(masks)
                self._set = masks
            finally:
                with self._lock:
                    self._setting = None
                mine.set_result(None)

    def _drop(self) -> None:
        """Forgets masks that were used longest ago and that nobody uses now."""
        idle = [digest for digest in self._wanted if not self._using[digest]]
        for digest in idle[: max(0, len(idle) - _KEPT)]:
            del self._wanted[digest], self._using[digest]
