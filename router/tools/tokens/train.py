"""`train_tool_tokens`: from tools and examples with marked calls to a tool tokens folder."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from experts.engines.base import Engine
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message, TokenId
from router.errors import DataError
from router.functional.fit import LAMBDAS, Rows
from router.functional.merge import Vocabulary as Merged
from router.functional.merge import write_checkpoint
from router.functional.progress import Progress
from router.program import program
from router.tools.base import Tool
from router.tools.tokens.build import entering
from router.tools.tokens.examples import MarkedCall, MarkedExample
from router.tools.tokens.file import (
    GENERIC,
    MODEL_NAME,
    ToolTokensFile,
    ToolTrainingReport,
    save_tool_tokens,
    token_texts,
)
from router.tools.tokens.rows import FittedHead, Places, fit_head, untrained
from router.tools.tokens.states import ReadSequence, describe, read_states

_NUMBER = re.compile(r"\d[\d.,]*")
_VALIDATION_PERCENT = 15
_TEXT_PLACES = 24  # of ordinary text, in each example at most


@dataclass(frozen=True)
class ToolTraining:
    """How to train; ``regularisation`` None: by cross-validation."""

    regularisation: float | None = None
    seed: int = 0


async def train_tool_tokens(
    worker: LocalWorker, tools: Sequence[Tool], examples: Sequence[MarkedExample], out: Path, *,
    system: str | None = None, training: ToolTraining | None = None, progress: Callable[[Progress], None] = lambda _: None,
) -> ToolTrainingReport:  # fmt: skip
    """Trains rows for tools, the model frozen, and writes a tool tokens folder with the whole model in ``model/``.

    Examples that differ in numbers only stay together on one side of the split into training and validation. Validation
    examples measure the rows, which learn from them too afterwards. Examples longer than the context are left out.

    Raises:
        DataError: no example to learn from or to measure with.
        TokenHeadError: the worker is not local.
        CheckpointError: the model's files are missing or not accepted.
    """
    started, how = time.monotonic(), training or ToolTraining()

    def reading(begin: float, end: float) -> Callable[[float], None]:
        return lambda share: progress(Progress("reading", begin + (end - begin) * share))

    lambdas = LAMBDAS if how.regularisation is None else (how.regularisation,)
    engine = await create_engine(worker)
    try:
        base = engine.info.fingerprint
        names = [tool.name for tool in tools]
        texts = token_texts(names, {})
        reads = engine.token_id(GENERIC) is not None
        vectors = await describe(engine, tools)
        inputs = entering(engine, tools, texts)
        await _add_tokens(engine, texts, inputs, len(vectors[names[0]].description))
        reader = ExampleReader(engine, names, texts, system, how.seed)
        examples = [example for example in examples if reader.fits(example)]
        train, validation = split_examples(examples)
        learnt, held = await reader.places(train, reading(0, 0.4)), await reader.places(validation, reading(0.4, 0.5))
        progress(Progress("fitting", 0.5))
        fitted = fit_head(learnt, vectors, reads=reads, lambdas=lambdas, seed=how.seed)
        score = _score(fitted, untrained(vectors, fitted.length, reads=reads).head.rows, held)
        final = fit_head(
            await reader.places(examples, reading(0.5, 1)),
            vectors,
            reads=reads,
            lambdas=(fitted.regularisation,),
            seed=how.seed,
        )
    finally:
        await engine.close()
    report = ToolTrainingReport(
        seed=how.seed, examples=len(train), calls=sum(len(example.calls) for example in train),
        validation_calls=int((held.labels < len(names)).sum()), regularisation=fitted.regularisation,
        seconds=time.monotonic() - started, **score,
    )  # fmt: skip
    _write(worker, names, texts, {texts[name]: inputs[texts[name]] for name in names}, final, base, out, report,
           GENERIC if reads else None)  # fmt: skip
    return report


def split_examples(examples: Sequence[MarkedExample]) -> tuple[list[MarkedExample], list[MarkedExample]]:
    """Training and validation examples, by a hash of the query without its numbers.

    Raises:
        DataError: one of the two has no call.
    """
    held = [_bucket(example.query) < _VALIDATION_PERCENT for example in examples]
    train = [example for example, away in zip(examples, held, strict=True) if not away]
    validation = [example for example, away in zip(examples, held, strict=True) if away]
    for what, part in (("train on", train), ("validate with", validation)):
        if not any(example.calls for example in part):
            raise DataError(
                "the examples", f"some with calls to {what}", f"{len(part)} of {len(examples)}; add examples"
            )
    return train, validation


def without_numbers(text: str) -> str:
    """What a text is but for its numbers, its case and its spaces."""
    return " ".join(_NUMBER.sub("0", text.lower()).split())


def _bucket(query: str) -> int:
    digest = hashlib.blake2b(without_numbers(query).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 100


class ExampleReader:
    """Reads the places of examples where tool tokens compete.

    Args:
        engine: has the tools' tokens.
        names: of the tools, in the order of the labels.
    """

    def __init__(
        self, engine: Engine, names: Sequence[str], texts: dict[str, str], system: str | None, seed: int
    ) -> None:
        self._engine, self._names, self._texts = engine, list(names), texts
        self._system, self._random = system, Random(seed)

    def fits(self, example: MarkedExample) -> bool:
        """Whether an example is no longer than the model's context."""
        longest = self._engine.info.context_length - 1
        written = sum(
            len(self._engine.encode(p if isinstance(p, str) else f"_{p.arguments}={p.result}"))
            for p in example.response
        )
        asked = len(self._engine.encode(example.query + (self._system or "")))
        return asked + written < longest and len(self._sequence(example)[0].token_ids) <= longest

    async def places(self, examples: Sequence[MarkedExample], done: Callable[[float], None] = lambda _: None) -> Places:
        """All places of calls, and some of ordinary text; what is inside of calls is left out."""
        import numpy as np

        sequences, labels, numbers = [], [], []
        for number, example in enumerate(examples):
            sequence, found = self._sequence(example)
            sequences.append(sequence)
            labels += found
            numbers += [number] * len(found)
        others = [self._engine.token_id(text) for text in (*self._texts.values(), GENERIC)]
        states = await read_states(self._engine, sequences, [token for token in others if token is not None], done)
        return Places(states, np.array(labels, np.int64), np.array(numbers, np.int64))

    def _sequence(self, example: MarkedExample) -> tuple[ReadSequence, list[int]]:
        system = (Message("system", self._system),) if self._system else ()
        ids = self._engine.render(GenerateRequest(messages=(*system, Message("user", example.query))))
        calls: dict[int, int] = {}
        text: list[int] = []
        for piece in example.response:
            if isinstance(piece, MarkedCall):
                calls[len(ids) - 1] = self._names.index(piece.tool)
                token = self._engine.token_id(self._texts[piece.tool])
                assert token is not None, "the engine has been given this token"
                ids += (token, *self._engine.encode(f"{piece.arguments}={piece.result}"))
            else:
                added = self._engine.encode(piece)
                text += range(len(ids) - 1, len(ids) - 1 + len(added))
                ids += added
        text.append(len(ids) - 1)  # where the answer ends
        after = {place for place in text if place - 1 in calls}
        kept = [place for place in text if place not in calls]
        chosen = {*self._random.sample(kept, min(_TEXT_PLACES, len(kept))), *after, len(ids) - 1} - set(calls)
        places = sorted({*calls, *chosen})
        return ReadSequence(ids, tuple(places)), [calls.get(place, len(self._names)) for place in places]


async def _add_tokens(
    engine: Engine, texts: dict[str, str], inputs: dict[str, tuple[TokenId, ...]], width: int
) -> None:
    import numpy as np

    await engine.extend_vocabulary({text: np.zeros(width, np.float32) for text in texts.values()}, inputs)


def _score(fitted: FittedHead, prior: Rows, held: Places) -> dict[str, float]:
    """The shares of `ToolTrainingReport` on examples that were not trained on."""
    features = held.states.hidden / fitted.length
    called = held.labels < len(prior.bias)

    def chosen(rows: Rows) -> float:
        return float((rows.logits(features[called]).argmax(1) == held.labels[called]).mean())

    rows = fitted.rows()
    wins = rows.logits(features).max(1) > held.states.rest
    return {
        "choice": chosen(rows), "prior_choice": chosen(prior), "called": float(wins[called].mean()),
        "false_calls": float(wins[~called].mean()) if (~called).any() else 0.0,
    }  # fmt: skip


def _write(
    worker: LocalWorker, names: Sequence[str], texts: dict[str, str], inputs: dict[str, tuple[TokenId, ...]],
    fitted: FittedHead, base: str, out: Path, report: ToolTrainingReport, generic: str | None,
) -> None:  # fmt: skip
    from experts.engines.local.checkpoint import fingerprint, resolve

    rows = fitted.rows()
    weights = {texts[name]: row for name, row in zip(names, rows.weights / fitted.length, strict=True)}
    write_checkpoint(resolve(worker.model), Merged(None, weights, tuple(weights), inputs), out / MODEL_NAME)
    fitted.head.save(out)
    tokens = ToolTokensFile(
        tokens=texts, biases={name: float(bias) for name, bias in zip(names, rows.bias, strict=True)}, generic=generic,
        length=fitted.length, base=base, fingerprint=fingerprint(out / MODEL_NAME), report=report,
        created_with=program(),
    )  # fmt: skip
    save_tool_tokens(tokens, out)
