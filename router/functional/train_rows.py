"""Trains the rows of a frozen encoder, on every layer where the engine gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from experts.engines.base import Capability, Engine
from experts.engines.requests import Message
from router.functional.candidate import Candidate
from router.functional.encoder import encode_targets
from router.functional.encoder_data import EncoderData
from router.functional.fit import LAMBDAS, Asides, FittedRows, Rows, fit_rows
from router.functional.head import TokenHead
from router.functional.head_rivals import Rivals
from router.functional.layers import LayerScale
from router.functional.pairs import MOST_NODES, Pairs, widened
from router.functional.prior import NodeVectors
from router.functional.turns import encode_dialogues
from router.functional.views import stems
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RowsTraining:
    """How rows are trained.

    Attributes:
        layers: read every layer; else the sentence vector alone.
        pairs: read pairs of features too, if the nodes are few enough for each to get some of the squares kept.
        refit: once the validation rows have scored the rows, learn from them too, save from those that the data mark
            as validation.
        lambdas: see `fit_rows`.
        seed: of the folds.
    """

    layers: bool = True
    pairs: bool = True
    refit: bool = True
    lambdas: Sequence[float] = LAMBDAS
    seed: int = 0


async def train_rows(
    engine: Engine, data: EncoderData, training: RowsTraining
) -> tuple[Candidate, NDArray[np.float32]]:
    """A candidate, and the validation logits of untrained tokens.

    Multiple-choice questions without their options and the example queries of the targets are learnt from as well.
    """
    import numpy as np

    every = training.layers and Capability.LAYERS in engine.capabilities
    vectors = await encode_targets(data.targets, engine, layers=every)
    width = (await engine.embed(["-"])).shape[1]
    head = TokenHead.from_vectors({node: found.last(width) for node, found in vectors.items()})
    layers = len(vectors[head.nodes[0]].description) // width

    late = [i for i, row in enumerate(data.validation) if training.refit and row.split is None]
    taught = [row.messages for row in (*data.train, *(data.validation[i] for i in late))]
    labels = np.concatenate([data.train_labels, data.validation_labels[late]])
    validation = await encode(engine, [row.messages for row in data.validation], layers)
    off_topic = await encode(engine, [row.messages for row in data.off_topic], layers)
    train = await encode(engine, [row.messages for row in data.train], layers)
    features = np.concatenate([train, validation[late]])
    asides = await _asides(engine, taught, labels, vectors, layers)

    def fit(count: int, lambdas: Sequence[float]) -> tuple[FittedRows, Rows]:
        """Learns from the first ``count`` rows taught: fitted rows as they are, and folded back."""
        views = asides.of < count
        seen = np.concatenate([features[:count], asides.features[views]])
        scale = LayerScale.measure(seen, width)
        inputs = scaled = scale.apply(seen)
        start = scale.lift(head.start)
        pairs = Pairs.among(scaled, training.seed) if training.pairs and len(head.nodes) <= MOST_NODES else None
        if pairs is not None:
            inputs = np.concatenate([pairs.features(scaled), scaled], axis=1)
            start = widened(start, inputs.shape[1])
        fitted = fit_rows(
            inputs[:count], labels[:count], start,
            asides=Asides(inputs[count:], asides.labels[views], asides.of[views]), lambdas=lambdas, seed=training.seed,
        )  # fmt: skip
        return fitted, scale.fold(fitted.rows if pairs is None else pairs.rows(fitted.rows, scaled, inputs))

    fitted, rows = fit(len(train), training.lambdas)
    final = fit(len(labels), (fitted.regularisation,))[1] if late else rows
    rivals = Rivals.of(train[:, -width:], data.train_labels, fitted)
    head = replace(head, rows=final, rivals=rivals)
    candidate = Candidate(
        "rows", head, engine.info.fingerprint, fitted.held_out_logits, data.train_labels,
        rows.logits(validation), rows.logits(off_topic), fitted.regularisation, 0,
    )  # fmt: skip
    return candidate, head.start.logits(validation[:, -width:])


async def encode(engine: Engine, dialogues: Sequence[Sequence[Message]], layers: int = 1) -> NDArray[np.float32]:
    """Vectors [n, d] of dialogues, also of none."""
    return await encode_dialogues(engine, dialogues, layers) if dialogues else await engine.embed([], layers > 1)


async def _asides(
    engine: Engine, dialogues: Sequence[Sequence[Message]], labels: NDArray[np.int64],
    targets: Mapping[NodeId, NodeVectors], layers: int,
) -> Asides:  # fmt: skip
    """Stems of the dialogues, and the targets' examples."""
    import numpy as np

    shorter, of = stems(dialogues)
    examples = [found.examples for found in targets.values()]
    counts = [len(found) for found in examples]
    return Asides(
        np.concatenate([await encode(engine, shorter, layers), *examples]),
        np.concatenate([labels[of], np.repeat(np.arange(len(counts)), counts)]),
        np.concatenate([np.array(of, np.int64), np.full(sum(counts), -1)]),
    )
