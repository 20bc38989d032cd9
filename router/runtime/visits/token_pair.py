"""Visiting a pair: a small model writes the answer, a large one its critical tokens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from experts.defer.files import TokenRouterFile, check_fingerprint, locate, read_file
from experts.engines.base import Engine
from experts.engines.requests import NO_MASK, GenerateRequest
from router.errors import GraphError
from router.runtime.engines import EnginePool
from router.runtime.logprobs import token_logprobs, token_texts
from router.runtime.masks import refuse_mask
from router.runtime.moves import Outcome
from router.runtime.once import Once
from router.runtime.options import answers
from router.runtime.visits.asking import ended, longest, options_of, request_of, split_answer
from router.runtime.visits.base import Visit
from router.runtime.work import Reply
from router.spec.models import GraphSpec, TokenPairNode
from router.token_level.loop import Switching, TokenPair
from router.token_level.writing import PairGeneration
from router.trace import Answered, PairWriting, WrittenToken
from router.types import NodeId


@dataclass(frozen=True)
class _Pair:
    """The models of a node, when its large one writes, and the weights of what decides that."""

    models: TokenPair
    switching: Switching
    router_parameters: int

    def activated_parameters(self, large_share: float) -> int:
        """Weights used per written token: the small model and the token router at every one, the large at its own."""
        small, large = self.models.small.info, self.models.large.info
        return round(small.activated_parameters + self.router_parameters + large_share * large.activated_parameters)


class TokenPairVisitor:
    """Writes with both workers of the node; their engines are compared once."""

    def __init__(self, spec: GraphSpec, name: NodeId, node: TokenPairNode, pool: EnginePool) -> None:
        self._spec, self._name, self._node, self._pool = spec, name, node, pool
        self._answers = answers(spec, name)
        self._pair: Once[_Pair] = Once()

    async def load(self, visit: Visit) -> None:
        refuse_mask(self._name, options_of(visit, answers=self._answers).expert_mask)
        here = [worker for worker in (self._node.small, self._node.large) if self._pool.here(worker)]
        await asyncio.gather(*map(self._pool.get, here))
        if len(here) == 2:
            await self._loaded()

    async def visit(self, visit: Visit) -> Outcome:
        options = options_of(visit, answers=self._answers)
        pair = await self._loaded()
        request = replace(
            request_of(pair.models.small, self._node, visit, options), criticality=options.authors,
            expert_mask=NO_MASK if options.expert_mask == NO_MASK else None,
        )  # fmt: skip
        result = await self._generate(pair, request, visit)
        generation = result.generation
        written, reason = len(generation.token_ids), ended(generation)
        visit.allowance.check_length(written, longest(self._node, options), reason)
        working, answer = split_answer(self._node, generation.text, visit, options)
        probability = math.exp(generation.mean_logprob)
        small = pair.models.small
        return Outcome(
            event=Answered(
                node=self._name, query=visit.query, answer=answer, working=working, probability=probability,
                finish_reason=reason, prompt_tokens=generation.prompt_tokens, generated_tokens=written,
                activated_parameters=pair.activated_parameters(result.large_share),
                logprobs=() if options.logprobs is None else token_logprobs(small, generation, working, answer),
                pair=PairWriting(
                    large_share=result.large_share, switches=result.switches, threshold=pair.switching.threshold,
                    tokens=tuple(_tokens(pair, result)) if options.authors else (),
                ),
            ),
            reply=Reply(node=self._name, text=answer, logprob=generation.mean_logprob),
            probability=probability,
        )  # fmt: skip

    async def _generate(self, pair: _Pair, request: GenerateRequest, visit: Visit) -> PairGeneration:
        visit.meter.asks(pair.models.small, request)
        if visit.write is None:
            result = await pair.models.generate(request, pair.switching)
            visit.meter.written = len(result.generation.token_ids)
            return result
        async with aclosing(pair.models.stream(request, pair.switching)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                visit.meter.written = chunk.written
                if chunk.text:
                    visit.write(chunk.text)
                if chunk.result is not None:
                    return chunk.result
        raise AssertionError("a stream ends with its result")

    async def _loaded(self) -> _Pair:
        return await self._pair.get(self._name, self._load)

    async def _load(self) -> _Pair:
        node = self._node
        named = getattr(self._spec.workers[node.small], "token_router", None)
        if named is None:
            raise GraphError(
                f"expected a token_router at the worker {node.small} of the pair {self._name}, found none. Name the folder "
                "that `tokengraph train token-router` made"
            )
        folder = locate(named)
        file = await asyncio.to_thread(read_file, folder)
        small, large = await asyncio.gather(self._pool.get(node.small), self._pool.get(node.large))
        await asyncio.to_thread(_check_fits, file, folder, small, large)
        models = await asyncio.to_thread(TokenPair, small, large)
        threshold = file.threshold() if node.threshold is None else node.threshold
        switching = Switching(threshold, max_large_share=node.max_large_share, large_run=node.large_run)
        return _Pair(models, switching, file.shape.parameters)


def _check_fits(file: TokenRouterFile, folder: Path, small: Engine, large: Engine) -> None:
    """Raises CheckpointError if the token router was made for others; takes reading the models' files."""
    check_fingerprint(small.info.fingerprint, file.small, "small", folder)
    check_fingerprint(large.info.fingerprint, file.large, "large", folder)


def _tokens(pair: _Pair, result: PairGeneration) -> Iterator[WrittenToken]:
    texts = token_texts(pair.models.small, result.generation.token_ids)
    for text, author, score in zip(texts, result.authors, result.scores, strict=True):
        yield WrittenToken(token=text, author=author, score=score)
