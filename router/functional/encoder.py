"""The encoder router: a sentence vector against one row per node. No text is generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from experts.engines.base import Capability, Engine, require
from experts.engines.requests import Message
from router.errors import TokenHeadError
from router.functional.calibrate import softmax
from router.functional.decision import Choice, Decision, Keep, Target, with_kept
from router.functional.fit import Rows
from router.functional.head import TokenHead
from router.functional.prior import NodeVectors
from router.functional.tokens_file import check_model, load_tokens, token_texts
from router.functional.turns import blend, encode_dialogues, user_turns
from router.spec.models import RouterNode
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ALTERNATIVES = 20  # listed in a decision, besides the chosen nodes


@runtime_checkable
class _EmbedsNow(Protocol):
    """An engine that can also embed in the calling thread."""

    def embed_now(self, texts: Sequence[str], layers: bool = False) -> NDArray[np.float32]: ...


class EncoderRouter:
    """Chooses the targets whose rows agree most with the dialogue.

    The chosen nodes get the last user turn as it is.
    """

    def __init__(
        self, engine: Engine, nodes: Sequence[NodeId], tokens: Mapping[NodeId, str], rows: Rows, temperature: float,
        threshold: float, layers: int = 1,
    ) -> None:  # fmt: skip
        """Args: see `encoder_router`; ``rows`` are those of ``nodes``, in their order, and read ``layers`` states."""
        self._engine = engine
        self._nodes = tuple(nodes)
        self._tokens = tuple(tokens[node] for node in nodes)
        self._rows = rows.cooled(temperature)
        self._threshold = threshold
        self._layers = layers

    async def decide(
        self, messages: Sequence[Message], *, fan_out: int = 1, threshold: float | None = None,
        keep: Keep | None = None,
    ) -> Decision:  # fmt: skip
        """See `FunctionalRouter.decide`. One short text is encoded in the calling thread, which is faster than waking
        another one.

        Raises:
            RequestError: the dialogue has no user turn.
        """
        turns = user_turns(messages)
        engine = self._engine
        every = self._layers > 1
        vectors = engine.embed_now(turns, every) if isinstance(engine, _EmbedsNow) else await engine.embed(turns, every)
        logits = self._rows.logits_of(blend(vectors, self._layers))
        return self._decision(turns, logits, fan_out, threshold, keep)

    async def decide_many(
        self, dialogues: Sequence[Sequence[Message]], *, threshold: float | None = None
    ) -> list[Decision]:
        """See `FunctionalRouter.decide_many`."""
        if not dialogues:
            return []
        logits = self._rows.logits(await encode_dialogues(self._engine, dialogues, self._layers))
        return [
            self._decision(user_turns(messages), row, 1, threshold)
            for messages, row in zip(dialogues, logits, strict=True)
        ]

    def _decision(
        self, turns: Sequence[str], logits: NDArray[np.float32], fan_out: int, threshold: float | None,
        keep: Keep | None = None,
    ) -> Decision:  # fmt: skip
        import numpy as np

        probabilities = softmax(logits)
        count = min(max(fan_out, MAX_ALTERNATIVES), len(self._nodes))
        top = np.argpartition(probabilities, len(probabilities) - count)[-count:]
        top = top[np.argsort(-probabilities[top], kind="stable")]
        alternatives = tuple(Choice(self._nodes[i], self._tokens[i], float(probabilities[i])) for i in top)
        least = self._threshold if threshold is None else threshold
        chosen = alternatives[:fan_out] if alternatives[0].probability >= least else ()
        chosen = with_kept(chosen, alternatives, keep, fan_out)
        read = sum(len(self._engine.encode(turn)) for turn in turns)
        return Decision(chosen, (turns[-1],) * len(chosen), alternatives, prompt_tokens=read, generated_tokens=0)


async def encoder_router(
    node: RouterNode, targets: Sequence[Target], engine: Engine, folder: Path | None
) -> EncoderRouter:
    """A router over an engine that embeds.

    Targets that the tokens folder knows get their trained rows; the others (all of them without a folder) get rows from
    their descriptions and example queries at once.

    Raises:
        TokenHeadError: no tokens of an encoder, tokens for another model, or targets with nothing to know them by.
    """
    require(engine, Capability.EMBED)
    if folder is None:
        head = TokenHead.from_vectors(await encode_targets(targets, engine))
        texts = token_texts(targets, {})
        return EncoderRouter(engine, head.nodes, texts, head.rows, 1.0, node.threshold or 0.0)
    tokens = load_tokens(folder)
    if tokens.backbone != "encoder":
        raise TokenHeadError(
            f"{folder}: expected functional tokens of an encoder, found those of a {tokens.backbone}. Use the model "
            "that they were trained for, or train them for this one"
        )
    check_model(tokens, engine.info, folder)
    if tokens.layers > 1:
        require(engine, Capability.LAYERS)
    head = TokenHead.load(folder, tuple(tokens.tokens), tokens.layers)
    unknown = [target for target in targets if target.node not in tokens.tokens]
    new = await encode_targets(unknown, engine, layers=tokens.layers > 1)
    nodes = [target.node for target in targets]
    threshold = tokens.threshold if node.threshold is None else node.threshold
    return EncoderRouter(
        engine, nodes, token_texts(targets, tokens.tokens), head.rows_for(nodes, new), tokens.temperature, threshold,
        tokens.layers,
    )  # fmt: skip


async def encode_targets(
    targets: Sequence[Target], engine: Engine, *, layers: bool = False
) -> dict[NodeId, NodeVectors]:
    """Vectors of descriptions and examples, all in one batched call; with ``layers``, of every layer side by side.

    A node without a description goes by its name.
    """
    import numpy as np

    if not targets:
        return {}
    texts = [
        text
        for target in targets
        for text in (target.description.strip() or target.node.replace("_", " "), *target.examples)
    ]
    parts = np.split(
        await engine.embed(texts, layers), np.cumsum([1 + len(target.examples) for target in targets])[:-1]
    )
    return {target.node: NodeVectors(part[0], part[1:]) for target, part in zip(targets, parts, strict=True)}
