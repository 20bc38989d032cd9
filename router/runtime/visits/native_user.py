"""Visiting an expert whose model calls its tools natively, in its chat template's own form."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, Generation
from router.errors import RequestError
from router.runtime.engines import EnginePool
from router.runtime.once import Once
from router.runtime.tools import ToolPool
from router.runtime.visits.answer import AnswerVisitor, Written
from router.runtime.visits.base import Visit
from router.runtime.visits.calls import written
from router.spec.models import ExpertNode, GraphSpec
from router.tools.native.loop import NativeCaller, Write
from router.types import NodeId


class NativeUserVisitor(AnswerVisitor):
    """Answers with native calls. A bare prompt, which no chat template sees, it goes on with and calls nothing."""

    def __init__(self, spec: GraphSpec, name: NodeId, node: ExpertNode, pool: EnginePool, tools: ToolPool) -> None:
        super().__init__(spec, name, node, pool)
        self._tools = tools
        self._callers: Once[NativeCaller] = Once()

    async def _write(self, engine: Engine, request: GenerateRequest, visit: Visit) -> Written:
        if request.prompt_ids is not None:
            return await super()._write(engine, request, visit)
        if request.tools:
            raise RequestError(
                f"expected no tools in a request to {self._name}, which calls tools of its own, found {len(request.tools)}. "
                "Leave them out, or ask another node"
            )

        async def draw(asked: GenerateRequest, write: Write | None) -> Generation:
            return await self._generate(engine, asked, replace(visit, write=write))

        caller = await self._callers.get(asyncio.get_running_loop(), lambda: self._made(engine))
        return written(await caller.answer(request, draw=draw, consent=visit.consent, write=visit.write))

    async def _made(self, engine: Engine) -> NativeCaller:
        callers = {name: await self._tools.caller(name) for name in self._node.tools}
        return NativeCaller(engine, callers, calls=self._node.tool_calls)
