"""Visiting an expert: its model answers, or hands the query on by a functional token of its own (Octopus v4)."""

from __future__ import annotations

import math
from contextlib import aclosing
from dataclasses import replace

from experts.engines.base import Engine
from experts.engines.requests import Chunk, GenerateRequest, Generation, Message, Sampling, TokenId
from experts.errors import EngineError
from router.errors import TokenHeadError
from router.functional.call import parse_call
from router.functional.targets import targets_of
from router.functional.tokens_file import TokensFile, token_texts
from router.runtime.engines import EnginePool
from router.runtime.logprobs import token_logprobs
from router.runtime.moves import Outcome
from router.runtime.options import RunOptions, answers
from router.runtime.query import Prompt
from router.runtime.visits.base import Visit
from router.runtime.work import Reply
from router.spec.models import ExpertNode, GraphSpec
from router.trace import Answered, Pick
from router.types import NodeId


class AnswerVisitor:
    """Generates with the node's worker."""

    def __init__(self, spec: GraphSpec, name: NodeId, node: ExpertNode, pool: EnginePool) -> None:
        self._name, self._node, self._pool = name, node, pool
        self._texts = token_texts(targets_of(spec, name), {})
        self._answers = answers(spec, name)

    async def visit(self, visit: Visit) -> Outcome:
        engine = await self._pool.get(self._node.worker)
        tokens = self._tokens(engine)
        request = self._request(engine, visit, tuple(tokens))
        generation = await self._generate(engine, request, visit)
        visit.allowance.check_length(len(generation.token_ids), self._longest(visit), generation.finish_reason)
        handed_on = tokens.get(generation.stop_reason) if isinstance(generation.stop_reason, int) else None
        if handed_on is not None:
            return await self._hand_on(engine, request, generation, visit, handed_on)
        working, answer = self._split(generation.text)
        probability = math.exp(generation.mean_logprob)
        return Outcome(
            event=Answered(
                node=self._name, query=visit.query, answer=answer, working=working, probability=probability,
                finish_reason=generation.finish_reason, prompt_tokens=generation.prompt_tokens,
                generated_tokens=len(generation.token_ids), activated_parameters=engine.info.activated_parameters,
                logprobs=() if self._options(visit).logprobs is None else token_logprobs(engine, generation, working),
            ),
            reply=Reply(node=self._name, text=answer, logprob=generation.mean_logprob),
            probability=probability,
        )  # fmt: skip

    def _tokens(self, engine: Engine) -> dict[TokenId, NodeId]:
        """The functional tokens that this model may write instead of an answer."""
        found: dict[TokenId, NodeId] = {}
        for node, text in self._texts.items():
            token_id = engine.token_id(text)
            if token_id is None:
                raise TokenHeadError(
                    f"expected the functional token {text} of the edge {self._name} -> {node} in the vocabulary of "
                    f"{engine.info.model}, found no such token. Name one of its special tokens in the edge's `token`"
                )
            found[token_id] = node
        return found

    def _options(self, visit: Visit) -> RunOptions:
        """What the caller asked of this answer; on the way to another one, nothing but to be in time."""
        return visit.options if self._answers else RunOptions(deadline=visit.options.deadline)

    def _longest(self, visit: Visit) -> int:
        return self._options(visit).max_tokens or self._node.max_tokens

    def _request(self, engine: Engine, visit: Visit, stops: tuple[TokenId, ...]) -> GenerateRequest:
        node, options = self._node, self._options(visit)
        request = GenerateRequest(
            max_tokens=visit.allowance.cap(self._longest(visit)), stop=(*node.stop, *options.stop),
            stop_token_ids=stops, adapter=node.adapter, top_logprobs=options.logprobs or 0, deadline=options.deadline,
            sampling=Sampling(
                node.temperature if options.temperature is None else options.temperature,
                node.top_p if options.top_p is None else options.top_p,
                node.seed if options.seed is None else options.seed,
            ),
        )  # fmt: skip
        if isinstance(visit.asked, Prompt):
            ids = visit.asked.token_ids
            return replace(request, prompt_ids=engine.encode(visit.asked.text) if ids is None else ids)
        # One system turn at the start: many chat templates accept no other.
        turns = [node.system or "", *(m.content for m in visit.messages if m.role == "system")]
        system = "\n\n".join(turn for turn in turns if turn)
        rest = (message for message in visit.messages if message.role != "system")
        messages = (*((Message("system", system),) if system else ()), *rest)
        return replace(request, messages=messages, tools=options.tools)

    async def _generate(self, engine: Engine, request: GenerateRequest, visit: Visit) -> Generation:
        if visit.write is None:
            return await engine.generate(request)
        last: Chunk | None = None
        async with aclosing(engine.stream(request)) as chunks:  # type: ignore[type-var]
            async for last in chunks:
                if last.text:
                    visit.write(last.text)
        if last is None or last.generation is None:
            raise EngineError(
                f"expected a last chunk with the whole generation from {engine.info.model}, found none. "
                "Mend the engine's `stream`"
            )
        return last.generation

    async def _hand_on(
        self, engine: Engine, request: GenerateRequest, first: Generation, visit: Visit, node: NodeId
    ) -> Outcome:
        """Lets the model finish the call ``<node_i>('query')<end>`` that it began."""
        token = self._texts[node]
        form = TokensFile(backbone="decoder", tokens={node: token})
        end = engine.token_id(form.end)
        room = request.max_tokens - len(first.token_ids)
        if room < 1:
            visit.allowance.check_length(len(first.token_ids), self._longest(visit), "length")
            raise self._no_call(engine, form, token, "")
        rest = await engine.generate(
            replace(
                request, messages=(), tools=(), prompt_ids=engine.render(request), forced_ids=first.token_ids, max_tokens=room,
                stop=() if end is not None else (form.close,), stop_token_ids=() if end is None else (end,),
            )
        )  # fmt: skip
        written = len(first.token_ids) + len(rest.token_ids)
        visit.allowance.check_length(written, self._longest(visit), rest.finish_reason)
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

    def _split(self, text: str) -> tuple[str, str]:
        """Working and answer."""
        mark = self._node.answer_after
        if mark is None or mark not in text:
            return "", text.strip()
        working, _, answer = text.rpartition(mark)
        return working + mark, answer.strip()
