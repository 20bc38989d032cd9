"""Hidden states of a frozen model where tool tokens are to compete, and what they compete with there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, Message, TokenId
from router.errors import RequestError, TokenHeadError
from router.functional.prior import NodeVectors
from router.tools.base import Tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class ReadSequence:
    """Token ids, and the positions whose next token is of interest."""

    token_ids: tuple[TokenId, ...]
    places: tuple[int, ...]


@dataclass(frozen=True)
class States:
    """One row a place, in the order of the sequences.

    Attributes:
        hidden: final normalised states, float32 [n, width].
        rest: log-sum-exp of the vocabulary's logits, float32 [n].
    """

    hidden: NDArray[np.float32]
    rest: NDArray[np.float32]


async def read_states(
    engine: Engine, sequences: Sequence[ReadSequence], without: Sequence[TokenId] = (),
    done: Callable[[float], None] = lambda _: None,
) -> States:  # fmt: skip
    """Reads sequences with the model of a local engine.

    Args:
        without: tokens that do not count as vocabulary.
        done: hears the share that has been read.

    Raises:
        TokenHeadError: the engine is not ``local``.
    """
    import numpy as np

    from experts.engines.local.engine import LocalEngine

    if not isinstance(engine, LocalEngine):
        raise TokenHeadError(
            f"expected a worker with engine: local, whose hidden states can be read, found {engine.info.model} on another. "
            "Train tool tokens with a local worker; any engine serves the result"
        )
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index].token_ids))
    groups: list[list[int]] = []
    for index in order:
        if not groups or (len(groups[-1]) + 1) * len(sequences[index].token_ids) > _BATCH_TOKENS:
            groups.append([])
        groups[-1].append(index)
    hidden: dict[int, NDArray[np.float32]] = {}
    rest: dict[int, NDArray[np.float32]] = {}

    def read(model: Any) -> None:
        for group in groups:
            for index, states, sums in _read(model, [sequences[i] for i in group], without, group):
                hidden[index], rest[index] = states, sums
            done(len(hidden) / len(sequences))

    await engine.call(read)
    if not hidden:
        raise TokenHeadError("expected sequences to read, found none. Give examples or tools")
    return States(
        np.concatenate([hidden[index] for index in range(len(sequences))]),
        np.concatenate([rest[index] for index in range(len(sequences))]),
    )


def _read(
    model: Any, batch: Sequence[ReadSequence], without: Sequence[TokenId], names: Sequence[int]
) -> list[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    import torch

    from experts.engines.local.decoding import pad

    found = []
    with torch.inference_mode():
        ids, mask, positions = pad([sequence.token_ids for sequence in batch], model.device)
        output = model.base_model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        head = model.get_output_embeddings()
        for row, (name, sequence) in enumerate(zip(names, batch, strict=True)):
            before = ids.shape[1] - len(sequence.token_ids)
            states = output.last_hidden_state[row, [before + place for place in sequence.places]]
            logits = head(states).float()
            logits[:, list(without)] = -torch.inf
            found.append((name, states.float().cpu().numpy(), logits.logsumexp(-1).cpu().numpy()))
    return found


async def describe(engine: Engine, tools: Sequence[Tool]) -> dict[str, NodeVectors]:
    """What each tool is known by: the states of its name and description, read as a user's words, average-pooled
    ("Re-Initialization Token Learning"); no examples yet. Of a description that is longer than the context, the beginning
    counts.

    Raises:
        TokenHeadError: the engine is not ``local``.
        RequestError: the model has no chat template.
    """
    import numpy as np

    asked = [_told(engine, tool) for tool in tools]
    read = await read_states(engine, [ReadSequence(ids, tuple(range(len(ids)))) for ids in asked])
    parts = np.split(read.hidden, np.cumsum([len(ids) for ids in asked])[:-1])
    none = np.zeros((0, read.hidden.shape[1]), np.float32)
    return {tool.name: NodeVectors(part.mean(0), none) for tool, part in zip(tools, parts, strict=True)}


def _told(engine: Engine, tool: Tool) -> tuple[TokenId, ...]:
    """A tool in a user's words, as much of them as fits the context."""

    def told(length: int) -> tuple[TokenId, ...]:
        words = f"{tool.name.replace('_', ' ')}: {tool.description[:length]}"
        return engine.render(GenerateRequest(messages=(Message("user", words),)))

    def too_long(length: int) -> bool:
        try:
            told(length)
        except RequestError:
            return True
        return False

    whole = len(tool.description)
    return told(max(0, bisect_left(range(whole), True, key=too_long) - 1) if too_long(whole) else whole)
