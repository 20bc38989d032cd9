"""One expert node as the evaluations of masks ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experts.engines.base import Engine
from experts.engines.requests import NO_MASK, GenerateRequest, Message
from experts.moe.activations import Activations
from experts.moe.mask import ExpertMask
from router.errors import GraphError
from router.runtime.router import Router, RunOptions
from router.spec.models import ExpertNode, GraphSpec
from router.types import NodeId

_AT_ONCE = 64

Progress = Callable[[int], None]
"""Called with the number of prompts that are done since the last call."""


def find_node(spec: GraphSpec, name: str | None) -> NodeId:
    """The expert node of a name; without one, the only node that is an expert.

    Raises:
        GraphError: there is none, or there are several.
    """
    experts = [node for node, kind in spec.nodes.items() if isinstance(kind, ExpertNode)]
    if name is None and len(experts) == 1:
        return experts[0]
    if name not in experts:
        found = "none" if name is None else repr(name)
        raise GraphError(
            f"expected the name of an expert node ({', '.join(experts) or 'none'}), found {found}. Name one"
        )
    return NodeId(name)


@dataclass(frozen=True)
class AskedNode:
    """A node of a graph, asked without the rest of it."""

    router: Router
    name: NodeId

    @property
    def node(self) -> ExpertNode:
        """Its spec."""
        node = self.router.spec.nodes[self.name]
        assert isinstance(node, ExpertNode), "find_node finds no other"
        return node

    async def engine(self) -> Engine:
        """Its engine, which stays the router's."""
        return await self.router.engine(self.node.worker)

    async def answers(
        self, prompts: Sequence[str], mask: ExpertMask | None, progress: Progress | None = None
    ) -> list[str]:
        """What it answers with a mask; with None, without any: its own is left out, too."""
        slots = asyncio.Semaphore(_AT_ONCE)
        options = RunOptions(expert_mask=NO_MASK if mask is None else mask)

        async def one(prompt: str) -> str:
            async with slots:
                result = await self.router.arun(prompt, node=self.name, options=options)
            if progress is not None:
                progress(1)
            return result.answer

        tasks = [asyncio.ensure_future(one(prompt)) for prompt in prompts]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def activations(self, prompts: Sequence[str], progress: Progress | None = None) -> list[Activations]:
        """Which experts the tokens of each prompt choose, as the node reads it, without a mask."""
        engine, node = await self.engine(), self.node
        system = (Message("system", node.system),) if node.system else ()
        found: list[Activations] = []
        for start in range(0, len(prompts), _AT_ONCE):
            part = prompts[start : start + _AT_ONCE]
            requests = [
                GenerateRequest(messages=(*system, Message("user", prompt)), adapter=node.adapter) for prompt in part
            ]
            found += await engine.activations(requests)
            if progress is not None:
                progress(len(part))
        return found
