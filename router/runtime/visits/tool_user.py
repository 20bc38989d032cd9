"""Visiting an expert that has tools: its model calls them in its answer."""

from __future__ import annotations

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, Generation
from router.runtime.engines import EnginePool
from router.runtime.once import Once
from router.runtime.tools import ToolPool
from router.runtime.visits.answer import AnswerVisitor, Written
from router.runtime.visits.base import Visit
from router.runtime.visits.calls import written
from router.spec.models import ExpertNode, GraphSpec
from router.tools.tokens.decode import CallableTool, CallLimits, ToolDecoder
from router.types import NodeId


class ToolUserVisitor(AnswerVisitor):
    """Answers with calls by tool tokens; the model, its tokens and the tools load with the first visit."""

    def __init__(self, spec: GraphSpec, name: NodeId, node: ExpertNode, pool: EnginePool, tools: ToolPool) -> None:
        super().__init__(spec, name, node, pool)
        self._tools = tools
        self._decoders: Once[ToolDecoder] = Once()

    async def _engine(self) -> Engine:
        from router.functional.tokens_file import worker_for
        from router.tools.tokens.file import find_tool_tokens

        worker = self._pool.worker(self._node.worker)
        if worker is None:
            return await self._pool.get(self._node.worker)
        return await self._pool.get_for(worker_for(worker, find_tool_tokens(self._node.tool_tokens, worker)))

    async def _write(self, engine: Engine, request: GenerateRequest, visit: Visit) -> Written:
        decoder = await self._decoder(engine)

        async def draw(asked: GenerateRequest) -> Generation:
            return await self._generate(engine, asked, visit)

        return written(await decoder.answer(request, draw=draw, consent=visit.consent, write=visit.write))

    async def _decoder(self, engine: Engine) -> ToolDecoder:
        """The decoder of an event loop, whose tools are called from there."""
        import asyncio

        return await self._decoders.get(asyncio.get_running_loop(), lambda: self._made(engine))

    async def _made(self, engine: Engine) -> ToolDecoder:
        from router.tools.tokens.build import tool_vocabulary
        from router.tools.tokens.file import find_tool_tokens

        node, worker = self._node, self._pool.worker(self._node.worker)
        callers = {name: await self._tools.caller(name) for name in node.tools}
        tools = [callers[name].tools[name] for name in node.tools]
        folder = node.tool_tokens if worker is None else find_tool_tokens(node.tool_tokens, worker)
        vocabulary = await tool_vocabulary(engine, tools, folder)
        return ToolDecoder(
            engine,
            {
                vocabulary.ids[tool.name]: CallableTool(
                    tool, vocabulary.texts[tool.name], callers[tool.name],
                    vocabulary.biases[tool.name] + _bias(node, tool.name),
                )
                for tool in tools
            },
            banned=vocabulary.unoffered, limits=CallLimits(calls=node.tool_calls),
        )  # fmt: skip


def _bias(node: ExpertNode, tool: str) -> float:
    return node.tool_bias.get(tool, 0.0) if isinstance(node.tool_bias, dict) else node.tool_bias
