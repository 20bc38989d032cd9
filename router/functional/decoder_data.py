"""What a decoder router is trained on: a model with functional tokens, and labelled dialogues as its token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, TokenId
from router.functional.decision import Target
from router.functional.merge import merge_tokens
from router.functional.sequences import LabelledDialogue, RoutingSequence, routing_sequences
from router.functional.tokens_file import TokensFile
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ABSTAIN = "<node_unknown>"


@dataclass(frozen=True)
class TrainingData:
    """Sequences of a merged model. ``ids`` are the outcomes: the targets in order, then abstaining.

    ``train_states`` and ``validation_states`` (float32 [n, width]) are there where only rows are fitted.
    """

    tokens: TokensFile
    targets: tuple[NodeId, ...]
    ids: tuple[TokenId, ...]
    train: list[RoutingSequence]
    validation: list[RoutingSequence]
    train_states: NDArray[np.float32] | None = None
    validation_states: NDArray[np.float32] | None = None

    def labels(self, sequences: Sequence[RoutingSequence]) -> NDArray[np.int64]:
        """Positions in ``ids``."""
        import numpy as np

        place = {token: index for index, token in enumerate(self.ids)}
        return np.array([place[sequence.choice] for sequence in sequences], np.int64)


async def prepare(
    worker: LocalWorker, targets: Sequence[Target], train: Sequence[LabelledDialogue],
    validation: Sequence[LabelledDialogue], out: Path, rows_only: bool, system: str | None,
) -> TrainingData:  # fmt: skip
    """Merges the targets' tokens into the model, writes that to ``out``, and renders the rows with it.

    Nodes that some training row has a reformulated query for are silent no longer, unless only rows are fitted.
    """
    calls = not rows_only
    off_topic = any(row.node is None for row in (*train, *validation))
    merged = await merge_tokens(
        worker, targets, out, system=system, abstain=ABSTAIN if off_topic else None,
        writes_calls=calls and any(row.reformulated for row in train),
    )  # fmt: skip
    engine = await create_engine(worker.model_copy(update={"model": str(out), "adapters": {}}))
    try:
        if calls:
            spoken = {row.node for row in train if row.reformulated is not None}
            silent = tuple(node for node in merged.tokens if node in merged.silent and node not in spoken)
            merged = merged.model_copy(update={"silent": silent})
        nodes = tuple(target.node for target in targets)
        texts = [*(merged.tokens[node] for node in nodes), *([merged.abstain] if merged.abstain else [])]
        ids = tuple(number for text in texts if (number := engine.token_id(text)) is not None)
        sequences = [routing_sequences(engine, rows, merged, system) for rows in (train, validation)]
        data = TrainingData(merged, nodes, ids, sequences[0], sequences[1])
        if calls:
            return data
        states = [
            await engine.hidden_states([GenerateRequest(prompt_ids=sequence.prompt) for sequence in part])
            for part in sequences
        ]
        return replace(data, train_states=states[0], validation_states=states[1])
    finally:
        await engine.close()
