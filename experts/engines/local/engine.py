"""The local engine: a transformers model in this process, the oracle of every other engine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from experts.defer.files import load_router, locate
from experts.engines.answer import Answer
from experts.engines.base import Capability, EngineInfo
from experts.engines.checks import check_prompt, check_request
from experts.engines.config import LocalWorker
from experts.engines.local.adapters import Adapters
from experts.engines.local.checkpoint import fingerprint, resolve
from experts.engines.local.decoding import Decoder, final_states
from experts.engines.local.job import Job
from experts.engines.local.loading import count_parameters, load_causal
from experts.engines.local.masks import Masks
from experts.engines.local.scoring import Scorer
from experts.engines.local.sessions import Sessions
from experts.engines.local.vocabulary import extend_vocabulary
from experts.engines.local.worker import Worker
from experts.engines.partial import PartialEngine
from experts.engines.prompt import PromptTokenizer
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from experts.moe.activations import Activations
    from experts.moe.mask import ExpertMask
    from experts.moe.shape import MoeShape

T = TypeVar("T")


class LocalEngine(PartialEngine):
    """Generates with a causal language model.

    Requests run as one batch (one batch per adapter); one that comes later joins those that run. Every request has its
    own random numbers, so an answer does not depend on what else is in the batch. An answer ends at the model's context
    length at the latest. Requests of one session feed only what is new.

    Raises:
        CheckpointError: the model's or an adapter's files are missing, incomplete or not safetensors.
    """

    def __init__(self, worker: LocalWorker) -> None:
        self._name = worker.model
        self._folder = resolve(worker.model)
        self._tokenizer = PromptTokenizer.load(self._folder)
        self._model = load_causal(self._folder, dtype=worker.dtype, device=worker.device, plain=not worker.adapters)
        self._adapters = Adapters(self._model, worker.adapters)
        self._masks = Masks(self._model, lambda: self._fingerprint)
        self._sessions = Sessions(worker.cache_tokens)
        scorer = None if worker.token_router is None else self._scorer(worker.token_router)
        self._decoder = Decoder(self._model, scorer, self._sessions, added=lambda: self._tokenizer.added_ids)
        self._defers = scorer is not None
        self._worker = Worker(worker.model, worker.max_batch, self._run)
        self._max_batch = worker.max_batch
        self._end_ids = _end_ids(self._model, self._tokenizer)
        self._parameters = count_parameters(self._model)
        self._context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize

    @property
    def info(self) -> EngineInfo:
        """Facts about the model. The fingerprint is of the files, so it stays when the vocabulary grows."""
        total, activated = self._parameters
        return EngineInfo(
            model=self._name, fingerprint=self._fingerprint, parameters=total, activated_parameters=activated,
            vocabulary_size=self._vocabulary_size, context_length=self._context, end_ids=tuple(sorted(self._end_ids)),
            added_ids=self._tokenizer.added_ids,
        )  # fmt: skip

    @property
    def capabilities(self) -> frozenset[Capability]:
        lacking = {Capability.EMBED, Capability.STRUCTURED_OUTPUTS}
        if not self._masks.possible:
            lacking.add(Capability.EXPERT_MASKS)
        if not self._defers:
            lacking.add(Capability.DEFER)
        return frozenset(Capability) - lacking

    @property
    def model(self) -> Any:
        """The torch model. Only the engine's own thread may use it: see ``call``."""
        return self._model

    async def call(self, function: Callable[[Any], T]) -> T:
        """Runs ``function(model)`` in the engine's thread, between batches: the way to look into or alter the model."""

        def run() -> T:
            self._sessions.clear()  # the model may be another one after this
            return function(self._model)

        return await asyncio.wrap_future(self._worker.call(run))

    def token_id(self, token: str) -> TokenId | None:
        return self._tokenizer.token_id(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        return self._tokenizer.encode(text)

    def decode(self, token_ids: Sequence[TokenId], *, plain: bool = False) -> str:
        return self._tokenizer.decode_plain(token_ids) if plain else self._tokenizer.decode(token_ids)

    def render(self, request: GenerateRequest) -> tuple[TokenId, ...]:
        check_request(
            request, vocabulary_size=self._vocabulary_size, adapters=self._adapters.names, masks=self._masks.names,
            defers=self._defers,
        )  # fmt: skip
        prompt = (
            self._tokenizer.render(request.messages, request.tools)
            if request.prompt_ids is None
            else request.prompt_ids
        )
        prompt += request.forced_ids
        check_prompt(len(prompt), self._context)
        return prompt

    async def generate(self, request: GenerateRequest) -> Generation:
        job = self._job(request)
        # Requests that were made together (by asyncio.gather, say) are all rendered before the first is submitted.
        await asyncio.sleep(0)
        with job.in_time():
            self._worker.submit(job)
            return await asyncio.wrap_future(job.future)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Chunk | Future[Generation]] = asyncio.Queue()

        def emit(item: Chunk | Future[Generation]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.put_nowait, item)

        job = self._job(request, emit)
        await asyncio.sleep(0)
        job.future.add_done_callback(emit)
        try:
            with job.in_time():
                self._worker.submit(job)
                last = False
                while not last:
                    item = await arrived.get()
                    if isinstance(item, Future):
                        item.result()  # raises what went wrong; on success the last chunk is behind it
                        continue
                    last = item.generation is not None
                    yield item
        finally:
            job.future.cancel()

    async def hidden_states(self, requests: Sequence[GenerateRequest]) -> NDArray[float32]:
        width = self._model.get_output_embeddings().in_features
        states = np.zeros((len(requests), width), dtype=np.float32)
        prompts = [self.render(request) for request in requests]

        def run(model: Any) -> None:
            for batch in self._passes(requests):
                states[batch] = final_states(model, [prompts[row] for row in batch]).numpy()

        await self.call(run)
        return states

    async def extend_vocabulary(
        self, rows: Mapping[str, NDArray[float32]], like: Mapping[str, Sequence[TokenId]] | None = None
    ) -> None:
        await self.call(lambda model: extend_vocabulary(model, self._tokenizer, rows, like))

    async def moe_shape(self) -> MoeShape:
        if not self._masks.possible:
            self._lack(Capability.EXPERT_MASKS)
        return await asyncio.to_thread(self._masks.shape)

    async def set_masks(self, masks: Mapping[str, ExpertMask]) -> None:
        await self.moe_shape()  # reading the files for the fingerprint must not keep the engine's thread
        await self.call(lambda _model: self._masks.set(masks))

    async def activations(self, requests: Sequence[GenerateRequest]) -> list[Activations]:
        if not self._masks.possible:
            self._lack(Capability.EXPERT_MASKS)
        from experts.moe.collect import read_prompts

        # Prompts of like length run together, so that little is padding.
        prompts = sorted(
            ((self.render(request), place) for place, request in enumerate(requests)), key=lambda one: len(one[0])
        )
        found: dict[int, Activations] = {}

        def run(model: Any) -> None:
            for batch in self._passes([requests[place] for _, place in prompts]):
                read = read_prompts(model, [prompts[row][0] for row in batch])
                found.update(zip((prompts[row][1] for row in batch), read, strict=True))

        await self.call(run)
        return [found[place] for place in range(len(requests))]

    async def close(self) -> None:
        await asyncio.to_thread(self._worker.close)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._folder)

    @property
    def _vocabulary_size(self) -> int:
        return int(self._model.get_output_embeddings().out_features)

    def _passes(self, requests: Sequence[GenerateRequest]) -> Iterator[list[int]]:
        """The places of requests that run together; while some are yielded, their adapter and masks are in use."""
        for adapter in dict.fromkeys(request.adapter for request in requests):
            rows = [row for row, request in enumerate(requests) if request.adapter == adapter]
            with self._adapters.use(adapter):
                for start in range(0, len(rows), self._max_batch):
                    batch = rows[start : start + self._max_batch]
                    with self._masks.applied([requests[row].expert_mask for row in batch]):
                        yield batch

    def _job(self, request: GenerateRequest, emit: Callable[[Chunk], None] | None = None) -> Job:
        prompt = self.render(request)
        limit = min(request.max_tokens, self._context - len(prompt))
        answer = Answer(request, len(prompt), self._tokenizer.decode_plain, self._end_ids, limit)
        return Job(request, prompt, answer, emit)

    def _run(self, batch: list[Job], joined: Callable[[int], bool]) -> list[Job]:
        batch = self._masks.still_known(batch)
        if not batch:
            return []
        masks = self._masks.applied([job.request.expert_mask for job in batch])
        with self._adapters.use(batch[0].request.adapter), masks as keep:
            return self._decoder.run(batch, keep, joined)

    def _scorer(self, token_router: str) -> Scorer:
        router, _ = load_router(locate(token_router), small=self._fingerprint)
        return Scorer(self._model, router)


def _end_ids(model: Any, tokenizer: PromptTokenizer) -> frozenset[TokenId]:
    """The tokens that end an answer: those of the generation configuration, and the tokenizer's."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(TokenId(number) for number in (*ids, tokenizer.end_id) if number is not None)
