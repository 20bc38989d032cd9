"""Labelled dialogues as the token ids that a decoder router learns: prompt, functional token, call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, Message, TokenId
from router.errors import TokenHeadError
from router.functional.call import format_call
from router.functional.prompt import fit_context, router_prompt
from router.functional.tokens_file import TokensFile
from router.types import NodeId

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # the label that cross-entropy leaves out


class LabelledDialogue(Protocol):
    """A dialogue and where it belongs; ``node`` is None for an off-topic one."""

    @property
    def messages(self) -> tuple[Message, ...]: ...

    @property
    def node(self) -> NodeId | None: ...

    @property
    def reformulated(self) -> str | None: ...


@dataclass(frozen=True)
class RoutingSequence:
    """One training sequence.

    Attributes:
        prompt: the rendered dialogue, up to the routing position.
        choice: id of the functional token.
        call: what follows it, the end token included; empty if that is unknown.
    """

    prompt: tuple[TokenId, ...]
    choice: TokenId
    call: tuple[TokenId, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt) + 1 + len(self.call)


@dataclass(frozen=True)
class Batch:
    """Sequences padded on the left, so that what is learned stands at the end of each.

    Attributes:
        input_ids: int64 [batch, length]; ``attention_mask`` and ``position_ids`` likewise.
        choices: int64 [batch, kept]: the functional token where the last ``kept`` positions predict it, else IGNORED.
        calls: int64 [batch, kept]: the tokens of the calls likewise.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    choices: Tensor
    calls: Tensor


def routing_sequences(
    engine: Engine, rows: Sequence[LabelledDialogue], tokens: TokensFile, system: str | None
) -> list[RoutingSequence]:
    """The training sequences of labelled dialogues, rendered as the router reads them.

    Raises:
        TokenHeadError: the engine's vocabulary lacks a functional token.
    """
    end = engine.token_id(tokens.end)
    sequences = []
    for row in rows:
        text = tokens.abstain if row.node is None else tokens.tokens.get(row.node)
        choice = None if text is None else engine.token_id(text)
        if choice is None:
            raise TokenHeadError(
                f"expected a functional token for {row.node or 'abstaining'} in the vocabulary of {engine.info.model}, "
                f"found none. It knows {', '.join(tokens.tokens)}"
            )
        call: tuple[TokenId, ...] = ()
        if row.node is not None and row.reformulated is not None and end is not None:
            call = (*engine.encode(format_call(row.reformulated, tokens)), end)
        messages, _ = fit_context(engine, router_prompt(row.messages, system), 1 + len(call))
        sequences.append(RoutingSequence(engine.render(GenerateRequest(messages=messages)), choice, call))
    return sequences


def batches(
    sequences: Sequence[RoutingSequence], size: int, rng: Random | None = None
) -> Iterator[list[RoutingSequence]]:
    """Batches of at most ``size`` tokens, padding included, of sequences of like length.

    Args:
        rng: shuffles the sequences and the batches; None keeps them sorted by length.
    """
    jitter = [rng.random() if rng else 0.0 for _ in sequences]
    order = sorted(range(len(sequences)), key=lambda index: (len(sequences[index]), jitter[index]))
    groups: list[list[RoutingSequence]] = []
    for index in order:
        sequence = sequences[index]
        if not groups or (len(groups[-1]) + 1) * len(sequence) > size:
            groups.append([])
        groups[-1].append(sequence)
    if rng:
        rng.shuffle(groups)
    yield from groups


def collate(group: Sequence[RoutingSequence], device: str) -> Batch:
    """One batch of tensors. The last token of a sequence is only predicted, never read."""
    import torch

    length = max(map(len, group)) - 1
    kept = 1 + max(len(sequence.call) for sequence in group)
    input_ids = torch.zeros(len(group), length, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    choices = torch.full((len(group), kept), IGNORED)
    calls = choices.clone()
    for row, sequence in enumerate(group):
        read = (*sequence.prompt, sequence.choice, *sequence.call)[:-1]
        input_ids[row, length - len(read) :] = torch.tensor(read)
        attention_mask[row, length - len(read) :] = 1
        choices[row, kept - 1 - len(sequence.call)] = sequence.choice
        calls[row, kept - len(sequence.call) :] = torch.tensor(sequence.call, dtype=torch.long)
    position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)
    return Batch(*(tensor.to(device) for tensor in (input_ids, attention_mask, position_ids, choices, calls)))
