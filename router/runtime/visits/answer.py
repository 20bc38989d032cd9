"""Visiting an expert: its model answers, or hands the query on by a functional token of its own (Octopus v4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from experts.engines.base import Engine
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId
from experts.errors import EngineError
from experts.moe.mask import ExpertMask
from router.errors import TokenHeadError
from router.functional.call import parse_call
from router.functional.targets import targets_of
from router.functional.tokens_file import TokensFile, token_texts
from router.runtime.engines import EnginePool
from router.runtime.logprobs import token_logprobs
from router.runtime.masks import NodeMasks
from router.runtime.moves import Outcome
from router.runtime.options import RunOptions, answers
from router.runtime.structures import check_engine
from router.runtime.visits.asking import ended, longest, options_of, request_of, split_answer
from router.runtime.visits.base import Visit
from router.runtime.work import Reply
from router.spec.models import ExpertNode, GraphSpec
from router.trace import Answered, Pick, WrittenCall
from router.types import NodeId


@dataclass(frozen=True)
class Written:
    """What a node's model wrote.

    Attributes:
        generation: what the user sees of it.
        transcript: all that the model read and wrote after the prompt.
        drawn: tokens that it drew.
        mean_logprob: of the tokens that count.
        spliced: tokens of tools' results that it read.
        calls: of tools, in order.
        asked: the request that the transcript follows, if that is not the visit's own.
    """

    generation: Generation
    transcript: tuple[TokenId, ...]
    drawn: int
    mean_logprob: float
    spliced: int = 0
    calls: tuple[WrittenCall, ...] = ()
    asked: GenerateRequest | None = None


class AnswerVisitor:
    """Generates with the node's worker."""

    def __init__(self, spec: GraphSpec, name: NodeId, node: ExpertNode, pool: EnginePool) -> None:
        self._name, self._node, self._pool = name, node, pool
        self._texts = token_texts(targets_of(spec, name), {})
        self._answers = answers(spec, name)
        self._masks = NodeMasks(name, node)

    async def load(self, visit: Visit) -> None:
        if self._pool.here(self._node.worker):
            await self._engine()

    async def visit(self, visit: Visit) -> Outcome:
        engine = await self._engine()
        tokens = self._tokens(engine)
        options = options_of(visit, answers=self._answers)
        request = replace(
            request_of(engine, self._node, visit, options), stop_token_ids=tuple(tokens), adapter=self._node.adapter
        )
        if request.structure is not None:
            check_engine(self._name, engine)
        mask = self._masks.find(options.expert_mask)
        async with self._pool.masks(engine).use(mask) as registered:
            outcome = await self._answer(engine, replace(request, expert_mask=registered), visit, options, tokens)
        if not isinstance(mask, ExpertMask):
            return outcome
        return replace(outcome, event=outcome.event.model_copy(update={"expert_mask": mask.name}))

    async def _engine(self) -> Engine:
        return await self._pool.get(self._node.worker)

    async def _answer(
        self,
        engine: Engine,
        request: GenerateRequest,
        visit: Visit,
        options: RunOptions,
        tokens: Mapping[TokenId, NodeId],
    ) -> Outcome:
        written = await self._write(engine, request, visit)
        generation, most = written.generation, longest(self._node, options)
        visit.allowance.check_length(written.drawn, most, generation.finish_reason)
        handed_on = tokens.get(generation.stop_reason) if isinstance(generation.stop_reason, int) else None
        if handed_on is not None:
            whole = replace(generation, token_ids=written.transcript)
            outcome = await self._hand_on(engine, written.asked or request, whole, visit, handed_on, most)
            return replace(outcome, event=outcome.event.model_copy(update={"calls": written.calls}))
        working, answer = split_answer(self._node, generation.text, visit, options)
        probability = math.exp(written.mean_logprob)
        return Outcome(
            event=Answered(
                node=self._name, query=visit.query, answer=answer, working=working, probability=probability,
                finish_reason=ended(generation), prompt_tokens=generation.prompt_tokens + written.spliced,
                generated_tokens=written.drawn, activated_parameters=engine.info.activated_parameters, calls=written.calls,
                logprobs=() if options.logprobs is None else token_logprobs(engine, generation, working, answer),
            ),
            reply=Reply(node=self._name, text=answer, logprob=written.mean_logprob),
            probability=probability,
        )  # fmt: skip

    async def _write(self, engine: Engine, request: GenerateRequest, visit: Visit) -> Written:
        asked = 0
        if request.structure is not None and request.stop_token_ids:
            # JSON has no room for a functional token, so first the model is asked whether it begins with one.
            free = replace(request, structure=None)
            first = await self._whole(engine, replace(free, max_tokens=1), visit)
            if first.stop_reason in request.stop_token_ids:
                return Written(first, first.token_ids, 1, first.mean_logprob, asked=free)
            asked, request = 1, replace(request, stop_token_ids=())
        generation = await self._generate(engine, request, visit)
        return Written(generation, generation.token_ids, asked + len(generation.token_ids), generation.mean_logprob)

    def _tokens(self, engine: Engine) -> dict[TokenId, NodeId]:
        """The functional tokens that this model may write instead of an answer."""
        found: dict[TokenId, NodeId] = {}
        for node, text in self._texts.items():
            token_id = engine.token_id(text)
            if token_id is None or token_id in engine.info.added_ids:  # an added one is another node's
                raise TokenHeadError(
                    f"expected the functional token {text} of the edge {self._name} -> {node} in the vocabulary of "
                    f"{engine.info.model}, found no such token. Name one of its special tokens in the edge's `token`"
                )
            found[token_id] = node
        return found

    async def _generate(self, engine: Engine, request: GenerateRequest, visit: Visit) -> Generation:
        if visit.write is None:
            return await self._whole(engine, request, visit)
        last: Chunk | None = None
        visit.meter.asks(engine, request)
        async with aclosing(engine.stream(request)) as chunks:  # type: ignore[type-var]
            async for last in chunks:
                visit.meter.written += len(last.token_ids)
                if last.text:
                    visit.write(last.text)
        if last is None or last.generation is None:
            raise EngineError(
                f"expected a last chunk with the whole generation from {engine.info.model}, found none. "
                "Mend the engine's `stream`"
            )
        return last.generation

    async def _whole(self, engine: Engine, request: GenerateRequest, visit: Visit) -> Generation:
        visit.meter.asks(engine, request)
        generation = await engine.generate(request)
        visit.meter.written += len(generation.token_ids)
        return generation

    async def _hand_on(
        self, engine: Engine, request: GenerateRequest, first: Generation, visit: Visit, node: NodeId, most: int
    ) -> Outcome:
        """Lets the model finish the call ``<node_i>('query')<end>`` that it began."""
        token = self._texts[node]
        form = TokensFile(backbone="decoder", tokens={node: token})
        end = engine.token_id(form.end)
        room = request.max_tokens - len(first.token_ids)
        if room < 1:
            visit.allowance.check_length(len(first.token_ids), most, "length")
            raise self._no_call(engine, form, token, "")
        asked = replace(
            request, messages=(), tools=(), prompt_ids=engine.render(request), forced_ids=first.token_ids, max_tokens=room,
            stop=() if end is not None else (form.close,), stop_token_ids=() if end is None else (end,),
        )  # fmt: skip
        rest = await self._whole(engine, asked, visit)
        written = len(first.token_ids) + len(rest.token_ids)
        visit.allowance.check_length(written, most, rest.finish_reason)
        query = parse_call(rest.text if end is not None else rest.text + form.close, form)
        if query is None:
            raise self._no_call(engine, form, token, rest.text)
        probability = math.exp(first.logprobs[-1])
        return Outcome(
            event=Answered(
                node=self._name, query=visit.query, answer="", working=first.text, probability=probability,
                finish_reason="stop", chosen=Pick(node=node, token=token, probability=probability),
                prompt_tokens=first.prompt_tokens + rest.prompt_tokens, generated_tokens=written,
                activated_parameters=engine.info.activated_parameters,
            ),
            picks=((node, query),),
            probability=probability,
        )  # fmt: skip

    def _no_call(self, engine: Engine, form: TokensFile, token: str, found: str) -> EngineError:
        return EngineError(
            f"expected {form.open}query{form.close} after {token} from {engine.info.model} at {self._name}, found "
            f"{found[:80]!r}. Train this model's functional tokens with reformulated queries, or raise max_tokens"
        )
