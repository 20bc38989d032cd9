"""Batches of training examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from experts.pocket.recipes import Recipe
from experts.pocket.tokenizer import ASSISTANT, END, PAD, USER

_POOL_BATCHES = 32  # batches whose examples are sorted by length together


@dataclass(frozen=True)
class Batch:
    """Examples of like length, padded on the right, so causal attention needs no mask.

    Attributes:
        ids: of the tokens, int64 [examples, length].
        weight: of the loss of each token, float32 of the same shape.
        real: what is no padding, bool of the same shape.
        confined: the tokens of examples of a confined behaviour, from the one on where it is called for, bool of the same
            shape.
        decisions: the first token of their responses, bool of the same shape.
    """

    ids: Tensor
    weight: Tensor
    real: Tensor
    confined: Tensor
    decisions: Tensor


@dataclass(frozen=True)
class _Encoded:
    ids: list[int]
    head: int
    confined_from: int | None


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[Batch]:
    """Endless batches of about ``batch_tokens`` tokens each."""
    while True:
        pool = sorted(_pool(recipe, tokenizer, rng), key=lambda item: len(item.ids))
        chunks: list[list[_Encoded]] = [[]]
        for item in pool:
            if (len(chunks[-1]) + 1) * len(item.ids) > recipe.batch_tokens:
                chunks.append([])
            chunks[-1].append(item)
        rng.shuffle(chunks)
        for chunk in chunks:
            yield _batch(chunk, recipe, tokenizer.convert_tokens_to_ids(PAD))


def _pool(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[_Encoded]:
    pairs = recipe.pairs(rng, "train")
    user, assistant, end = (tokenizer.convert_tokens_to_ids(t) for t in (USER, ASSISTANT, END))

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    total = 0
    while total < _POOL_BATCHES * recipe.batch_tokens:
        pair = next(pairs)
        # The chat template lower-cases and trims the user's text.
        head = [user, *encode(pair.prompt.lower().strip()), assistant]
        ids = [*head, *encode(pair.response), end]
        if len(ids) <= recipe.context:
            at = pair.confined_from
            yield _Encoded(ids, len(head), None if at is None else at + 1)
            total += len(ids)


def _batch(chunk: list[_Encoded], recipe: Recipe, pad: int) -> Batch:
    width = max(len(item.ids) for item in chunk)
    ids = torch.full((len(chunk), width), pad)
    weight = torch.zeros(len(chunk), width)
    confined, decisions = torch.zeros(2, len(chunk), width, dtype=torch.bool)
    for row, item in enumerate(chunk):
        ids[row, : len(item.ids)] = torch.tensor(item.ids)
        weight[row, : len(item.ids)] = 1.0
        weight[row, : item.head] = recipe.prompt_weight
        if item.confined_from is not None:
            confined[row, item.confined_from : len(item.ids)] = True
            decisions[row, item.head] = True
    return Batch(ids, weight, ids != pad, confined, decisions)
