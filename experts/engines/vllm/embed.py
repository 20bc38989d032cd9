"""Sentence vectors from a vLLM server of a pooling model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experts.engines.local.pooling import PoolingConfig
from experts.engines.prompt import PromptTokenizer
from experts.engines.requests import TokenId
from experts.engines.vllm.served import Served
from experts.engines.vllm.transport import Transport
from experts.engines.vllm.wire import EmbeddingCall, Embeddings
from experts.errors import EngineError

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

_MOST_AT_ONCE = 256


class Embedder:
    """Makes token ids of texts as the local encoder does; the server pools the states of the tokens.

    Longer texts are cut at the model's length. How states become a vector is for the server to know: vLLM reads it
    from the files of a sentence-transformers model, any other needs ``--pooler-config``.
    """

    def __init__(self, transport: Transport, served: Served, folder: Path, tokenizer: PromptTokenizer) -> None:
        self._transport = transport
        self._model = served.model
        self._tokenizer = tokenizer
        config = PoolingConfig.load(folder)
        self._lower_case = config.lower_case
        limits = (config.max_length, tokenizer.max_length, served.context_length)
        self._max_length = min(limit for limit in limits if limit is not None)
        self._begin, self._end = tokenizer.surrounding

    async def embed(self, texts: Sequence[str]) -> NDArray[float32]:
        """Sentence vectors, float32 [len(texts), width], of unit length."""
        prompts = tuple(map(self._prompt, texts))
        rows: list[NDArray[float32]] = []
        for start in range(0, len(prompts), _MOST_AT_ONCE):
            batch = prompts[start : start + _MOST_AT_ONCE]
            call = EmbeddingCall(model=self._model, input=batch)
            answer = await self._transport.post("/v1/embeddings", call, Embeddings)
            vectors = sorted(answer.data, key=lambda vector: vector.index)
            if len(vectors) != len(batch):
                raise EngineError(
                    f"expected {len(batch)} vectors of {self._transport.url}, found {len(vectors)}. Look into its log"
                )
            rows.extend(np.frombuffer(vector.decoded(), dtype="<f4") for vector in vectors)
        if not rows:
            return np.zeros((0, 0), dtype=np.float32)
        found = np.stack(rows).astype(np.float32)
        normal: NDArray[float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return normal

    def _prompt(self, text: str) -> tuple[TokenId, ...]:
        ids = self._tokenizer.encode(text.lower() if self._lower_case else text)
        return self._begin + ids[: self._max_length - len(self._begin) - len(self._end)] + self._end
