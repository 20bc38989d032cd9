"""The engine ``vllm``: generates and embeds with one vLLM server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from experts.engines.answer import Answer, Draw
from experts.engines.base import Capability, EngineInfo
from experts.engines.checks import check_prompt, check_request
from experts.engines.config import VllmWorker
from experts.engines.partial import PartialEngine
from experts.engines.prompt import PromptTokenizer
from experts.engines.requests import NO_MASK, Chunk, GenerateRequest, Generation, TokenId
from experts.engines.vllm.continuing import ServerSessions
from experts.engines.vllm.deferring import Deferring, Described, find_router
from experts.engines.vllm.draws import Drawing
from experts.engines.vllm.embed import Embedder
from experts.engines.vllm.facts import ModelFacts, read_facts
from experts.engines.vllm.masks import WITHOUT_MASK, Arguments, ServerMasks
from experts.engines.vllm.plugin import find_instruments
from experts.engines.vllm.served import Served, find_served
from experts.engines.vllm.structured import check_whole
from experts.engines.vllm.transport import Transport
from experts.errors import EngineUnavailable

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from experts.moe.activations import Activations
    from experts.moe.mask import ExpertMask
    from experts.moe.shape import MoeShape

_GENERATES = frozenset(
    {
        Capability.GENERATE, Capability.STREAM, Capability.LOGPROBS, Capability.ALLOWED_TOKENS, Capability.ADAPTERS,
        Capability.STRUCTURED_OUTPUTS,
    }
)  # fmt: skip


class VllmEngine(PartialEngine):
    """A client of one vLLM server; ``VllmEngine.connect`` makes it.

    Prompts go as token ids, made here, so text of a user never becomes a special token; texts are put together here,
    the way ``local`` does it. Answers of the two are the same but for the random numbers and the rounding. A request
    that is cancelled, or a stream that is closed, is stopped on the server.
    """

    def __init__(
        self,
        worker: VllmWorker,
        transport: Transport,
        served: Served,
        facts: ModelFacts,
        tokenizer: PromptTokenizer,
        masks: ServerMasks | None = None,
        router: Described | None = None,
    ) -> None:
        self._worker = worker
        self._transport = transport
        self._served = served
        self._facts = facts
        self._tokenizer = tokenizer
        self._masks = masks
        self._router = router
        self._sessions = ServerSessions(transport)
        end = tokenizer.end_id
        self._end_ids = facts.end_ids if end is None else facts.end_ids | {end}
        self._embedder = Embedder(transport, served, facts.folder, tokenizer) if worker.task == "embed" else None

    @classmethod
    async def connect(
        cls, worker: VllmWorker, url: str, api_key: str | None = None, admin_token: str | None = None
    ) -> VllmEngine:
        """Connects to a server, and checks that it serves the worker's model and adapters.

        Args:
            admin_token: of tokengraph's plugin in the server; without it nothing of the plugin is used.

        Raises:
            EngineUnavailable: there is no server, or it does not work.
            EngineError: it serves something else, or wants another key or admin token.
            CheckpointError: the model's configuration or tokenizer cannot be read here.
        """
        transport = Transport(url, api_key, admin_token)
        try:
            served = await find_served(transport, worker)
            facts = await asyncio.to_thread(read_facts, worker.model)
            tokenizer = await asyncio.to_thread(PromptTokenizer.load, facts.folder)
            plugged = admin_token is not None and worker.plugin and worker.task == "generate"
            instruments = await find_instruments(transport) if plugged else {}
            masks = await ServerMasks.connect(transport) if "masks" in instruments else None
            router = None if worker.token_router is None else await find_router(transport, worker.token_router)
            return cls(worker, transport, served, facts, tokenizer, masks, router)
        except BaseException:  # also when cancelled: nobody else knows of these connections
            await transport.close()
            raise

    @property
    def info(self) -> EngineInfo:
        """Facts about the model; the fingerprint is of the files on this machine, the context length the server's."""
        facts = self._facts
        return EngineInfo(
            model=self._worker.model, fingerprint=facts.fingerprint, parameters=facts.parameters,
            activated_parameters=facts.activated_parameters, vocabulary_size=facts.vocabulary_size,
            context_length=self._served.context_length, end_ids=tuple(sorted(self._end_ids)),
        )  # fmt: skip

    @property
    def capabilities(self) -> frozenset[Capability]:
        if self._embedder is not None:
            return frozenset({Capability.EMBED})
        masks = set() if self._masks is None else {Capability.EXPERT_MASKS}
        return _GENERATES | masks | (set() if self._router is None else {Capability.DEFER})

    def token_id(self, token: str) -> TokenId | None:
        return self._tokenizer.token_id(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        return self._tokenizer.encode(text)

    def decode(self, token_ids: Sequence[TokenId], *, plain: bool = False) -> str:
        return self._tokenizer.decode_plain(token_ids) if plain else self._tokenizer.decode(token_ids)

    def render(self, request: GenerateRequest) -> tuple[TokenId, ...]:
        if self._embedder is not None:
            self._lack(Capability.GENERATE)
        masks = () if self._masks is None else self._masks.names
        check_request(
            request, vocabulary_size=self._facts.vocabulary_size, adapters=self._worker.adapters, masks=masks,
            defers=self._router is not None, structures=True,
        )  # fmt: skip
        prompt = request.prompt_ids
        if prompt is None:
            prompt = self._tokenizer.render(request.messages, request.tools)
        prompt += request.forced_ids
        check_prompt(len(prompt), self._served.context_length)
        return prompt

    async def generate(self, request: GenerateRequest) -> Generation:
        # Only this side finds stop texts, so that they are found where ``local`` finds them.
        async with aclosing(self._chunks(request, streamed=bool(request.stop))) as chunks:
            async for chunk in chunks:
                if chunk.generation is not None:
                    return chunk.generation
        raise AssertionError("an answer ends with its generation")

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        async with aclosing(self._chunks(request, streamed=True)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, texts: Sequence[str], layers: bool = False) -> NDArray[float32]:
        if self._embedder is None or layers:
            self._lack(Capability.LAYERS if layers else Capability.EMBED)
        return await self._embedder.embed(texts)

    async def moe_shape(self) -> MoeShape:
        return self._having_masks().shape

    async def set_masks(self, masks: Mapping[str, ExpertMask]) -> None:
        self._having_masks().set(masks)

    async def activations(self, requests: Sequence[GenerateRequest]) -> list[Activations]:
        masks = self._having_masks()
        prompts = [self.render(request) for request in requests]

        def ask(place: int, arguments: Arguments) -> AsyncGenerator[Draw, None]:
            return self._drawing(replace(requests[place], max_tokens=1), prompts[place], 1, arguments).draws(
                streamed=False
            )

        return await masks.scan([request.expert_mask for request in requests], ask)

    async def healthy(self) -> bool:
        """Whether the server says that it works, within two seconds."""
        return await self._transport.healthy()

    async def close(self) -> None:
        """Closes the connections; the server goes on."""
        await self._transport.close()

    def _having_masks(self) -> ServerMasks:
        if self._masks is None:
            self._lack(Capability.EXPERT_MASKS)
        return self._masks

    def _drawing(
        self, request: GenerateRequest, prompt: tuple[TokenId, ...], limit: int, arguments: Arguments,
        deferring: Deferring | None = None,
    ) -> Drawing:  # fmt: skip
        session = self._sessions.arguments(request.session) if self._worker.plugin else {}
        ends = () if request.ignore_eos else tuple(sorted(self._end_ids))
        model, size = request.adapter or self._served.model, self._facts.vocabulary_size
        return Drawing(self._transport, model, request, prompt, ends, limit, size, arguments, deferring, session)

    async def _chunks(self, request: GenerateRequest, *, streamed: bool) -> AsyncGenerator[Chunk, None]:
        prompt = self.render(request)

        def answer(arguments: Arguments) -> AsyncGenerator[Chunk, None]:
            return self._answered(request, prompt, arguments, streamed=streamed)

        async with aclosing(self._masked(request.expert_mask, answer)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _masked(
        self, name: str | None, answer: Callable[[Arguments], AsyncGenerator[Chunk, None]]
    ) -> AsyncGenerator[Chunk, None]:
        """What ``answer`` yields for the arguments that a mask takes; one that is not known has been refused."""
        if name is not None and self._masks is not None:
            return self._masks.draws(name, answer)
        # Without the admin token this side cannot tell whether the server has a mask for everybody.
        return answer(WITHOUT_MASK if name == NO_MASK and self._worker.plugin else {})

    async def _answered(
        self, request: GenerateRequest, prompt: tuple[TokenId, ...], arguments: Arguments, *, streamed: bool
    ) -> AsyncGenerator[Chunk, None]:
        limit = min(request.max_tokens, self._served.context_length - len(prompt))
        answer = Answer(request, len(prompt), self._tokenizer.decode_plain, self._end_ids, limit)
        deferring = None if self._router is None else Deferring(self._transport, self._router, request)
        drawing = self._drawing(request, prompt, limit, arguments, deferring)
        async with aclosing(drawing.draws(streamed=streamed)) as draws:
            async for draw in draws:
                deferred = deferring is not None and draw.token == deferring.token
                chunk = answer.leave() if deferred else answer.push(draw)
                if chunk.generation is None:
                    yield chunk
                    continue
                await draws.aclose()  # the server stops before anything else is done
                if request.structure is not None:
                    check_whole(chunk.generation, request.structure, self._transport.url)
                generation = await drawing.complete(chunk.generation)
                if deferring is not None and request.criticality:
                    generation = replace(generation, criticality=await deferring.scores(generation))
                yield Chunk(chunk.text, chunk.token_ids, generation)
                return
        raise EngineUnavailable(f"expected a whole answer of {self._transport.url}, found that it broke off. Try again")
