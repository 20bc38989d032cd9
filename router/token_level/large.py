"""How the large model writes for the labels: whole responses, and what follows each of the small model's tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, TokenId

if TYPE_CHECKING:
    from experts.engines.local.engine import LocalEngine
    from experts.engines.local.key_values import Past

Until = Literal["answer", "sentence"]
SENTENCE_ENDS = (". ", "! ", "? ", ".\n", "!\n", "?\n", "\n\n", "。")


@dataclass(frozen=True)
class Continuation:
    """How far branches go on: to the answer's end, or through so many sentence ends (R2R: two).

    Attributes:
        max_tokens: of a whole response.
    """

    until: Until = "answer"
    sentences: int = 2
    max_tokens: int = 512


@dataclass(frozen=True)
class Text:
    """Tokens that the large model is to go on from.

    Attributes:
        tokens: all of them.
        room: how many more it may write.
        past: what the model has computed of a text that begins alike.
    """

    tokens: tuple[TokenId, ...]
    room: int
    past: Past | None = None


@dataclass(frozen=True)
class Written:
    """What it wrote.

    Attributes:
        cut: there was no room for more.
        past: what it computed, where that can be used again.
    """

    tokens: tuple[TokenId, ...]
    cut: bool
    past: Past | None = None


class Large(Protocol):
    """The large model as a writer, greedily."""

    async def respond(self, texts: Sequence[Text]) -> list[Written]:
        """Writes to the end of the answer."""
        ...

    async def go_on(self, texts: Sequence[Text], how: Continuation) -> list[Written]:
        """Writes as far as branches go."""
        ...


class ServedLarge:
    """Any engine; what texts have in common is left to its prefix cache."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def respond(self, texts: Sequence[Text]) -> list[Written]:
        return await asyncio.gather(*(self._write(text, 1, ()) for text in texts))

    async def go_on(self, texts: Sequence[Text], how: Continuation) -> list[Written]:
        turns, stop = (1, ()) if how.until == "answer" else (how.sentences, SENTENCE_ENDS)
        return await asyncio.gather(*(self._write(text, turns, stop) for text in texts))

    async def _write(self, text: Text, turns: int, stop: tuple[str, ...]) -> Written:
        tokens: tuple[TokenId, ...] = ()
        for _ in range(turns):
            if len(tokens) >= text.room:
                return Written(tokens, cut=True)
            request = GenerateRequest(prompt_ids=text.tokens + tokens, max_tokens=text.room - len(tokens), stop=stop)
            generation = await self._engine.generate(request)
            tokens += generation.token_ids
            if not isinstance(generation.stop_reason, str):
                return Written(tokens, cut=generation.finish_reason == "length")
        return Written(tokens, cut=False)


class LocalLarge(ServedLarge):
    """An engine in this process. Branches start from the keys and values of the response that they leave, and only
    argmax is computed for a token, which together is several times faster.

    Args:
        batch: texts that grow at the same time.
    """

    def __init__(self, engine: LocalEngine, batch: int = 128) -> None:
        super().__init__(engine)
        self._local, self._batch = engine, batch

    async def respond(self, texts: Sequence[Text]) -> list[Written]:
        return await self._grow(texts, keep=True)

    async def go_on(self, texts: Sequence[Text], how: Continuation) -> list[Written]:
        return await self._grow(texts, keep=False) if how.until == "answer" else await super().go_on(texts, how)

    async def _grow(self, texts: Sequence[Text], *, keep: bool) -> list[Written]:
        """Like lengths together, so that little is padded."""
        order = sorted(range(len(texts)), key=lambda i: (texts[i].room > 0, len(texts[i].tokens)))
        written: dict[int, Written] = {i: Written((), cut=True) for i in order if texts[i].room < 1}
        order = order[len(written) :]
        for begin in range(0, len(order), self._batch):
            rows = order[begin : begin + self._batch]
            some = [texts[i] for i in rows]
            found = await self._local.call(partial(self._grow_batch, texts=some, keep=keep))
            written |= dict(zip(rows, found, strict=True))
        return [written[i] for i in range(len(texts))]

    def _grow_batch(self, model: Any, *, texts: Sequence[Text], keep: bool) -> list[Written]:
        import torch

        from experts.engines.local.batch import Batch
        from experts.engines.local.key_values import can_split

        keep = keep and can_split(model)
        ends = set(self._local.info.end_ids)
        grown: list[list[TokenId]] = [[] for _ in texts]
        pasts: list[Past | None] = [None] * len(texts)
        running = list(range(len(texts)))
        with torch.inference_mode():
            batch = Batch(model, [text.tokens for text in texts], [text.past for text in texts])
            while True:
                kept = []
                for row, token in enumerate(batch.logits().argmax(-1).tolist()):
                    tokens = grown[running[row]]
                    tokens.append(token)
                    if token not in ends and len(tokens) < texts[running[row]].room:
                        kept.append(row)
                    elif keep:
                        text = texts[running[row]].tokens + tuple(tokens)
                        pasts[running[row]] = batch.past(row, text)
                if not kept:
                    break
                running = [running[row] for row in kept]
                batch.go_on(kept, [grown[row][-1] for row in running])
        return [Written(tuple(tokens), tokens[-1] not in ends, past) for tokens, past in zip(grown, pasts, strict=True)]


def large_of(engine: Engine) -> Large:
    """The fastest writer for an engine."""
    from experts.engines.local.engine import LocalEngine

    return LocalLarge(engine) if isinstance(engine, LocalEngine) else ServedLarge(engine)
