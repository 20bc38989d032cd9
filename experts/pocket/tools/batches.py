"""Batches of lessons: token ids, what each position should predict, and the tools on offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from experts.pocket.recipes import Recipe
from experts.pocket.tokenizer import ASSISTANT, END, PAD, USER
from experts.pocket.tools.corpus import Lesson, about, descriptions, draw_lesson

TOOL = "<tool>"
"""The token that stands for every tool's token in what the model reads."""

_POOL_BATCHES = 16  # batches whose lessons are sorted by length together
_CHOICE_WEIGHT = 3.0  # of the loss on which tool to call; other tokens that the model writes count 1
_EXTRA_TOOLS = 6  # offered besides those that the batch calls


@dataclass(frozen=True)
class ToolBatch:
    """Lessons side by side.

    Attributes:
        ids: int64 [batch, length]; a tool's token is ``<tool>``.
        targets: int64 [batch, length], what position t should predict: a token, or vocabulary size + the number of a
            tool on offer.
        weight: float32 [batch, length], of the loss at position t.
        closed: bool [batch, length], positions where no tool can be called.
        texts: the texts of the tools on offer, int64 [tools, longest] each: short ones apart from long ones, numbered
            through.
    """

    ids: Tensor
    targets: Tensor
    weight: Tensor
    closed: Tensor
    texts: tuple[Tensor, ...]


@dataclass(frozen=True)
class _Row:
    """One encoded lesson; ``calls`` has the keys of the tools by the position that should predict them."""

    lesson: Lesson
    ids: list[int]
    weight: list[float]
    calls: dict[int, str]
    head: int


class Batcher:
    """Makes batches of a recipe's lessons with a tokenizer."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        self._recipe = recipe
        self._tokenizer, self._vocabulary = tokenizer, tokenizer.get_vocab()
        self._user, self._assistant, self._end, self._pad, self._tool = (
            tokenizer.convert_tokens_to_ids(token) for token in (USER, ASSISTANT, END, PAD, TOOL)
        )

    def __call__(self, rng: Random) -> Iterator[ToolBatch]:
        """Endless batches of the training split."""
        budget = self._recipe.batch_tokens
        while True:
            pool: list[_Row] = []
            total = 0
            while total < _POOL_BATCHES * budget:
                row = self._encoded(draw_lesson(rng, "train"))
                if len(row.ids) <= self._recipe.context:
                    pool.append(row)
                    total += len(row.ids)
            pool.sort(key=lambda row: len(row.ids))
            chunks: list[list[_Row]] = [[]]
            for row in pool:
                if (len(chunks[-1]) + 1) * len(row.ids) > budget:
                    chunks.append([])
                chunks[-1].append(row)
            rng.shuffle(chunks)
            for chunk in chunks:
                yield self._batch(chunk, rng)

    def _characters(self, text: str) -> list[int]:
        if text.isascii():  # nothing to normalise
            return [self._vocabulary[character] for character in text]
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _encoded(self, lesson: Lesson) -> _Row:
        ids = [self._user, *self._characters(lesson.question.lower().strip()), self._assistant]
        head = len(ids)
        weight = [self._recipe.prompt_weight] * (head - 1)  # of what position t predicts
        calls: dict[int, str] = {}

        def add(new: list[int], each: float) -> None:
            ids.extend(new)
            weight.extend([each] * len(new))

        for part in lesson.parts:
            if isinstance(part, str):
                add(self._characters(part), 1.0)
                continue
            calls[len(ids) - 1] = part.tool
            add([self._tool], _CHOICE_WEIGHT)
            if not part.arguments:
                break
            add(self._characters(part.arguments + "="), 1.0)
            add(self._characters(part.result), 0.0)  # the tool writes it
        else:
            add([self._end], 1.0)
        return _Row(lesson, ids, [*weight, 0.0], calls, head)

    def _batch(self, rows: Sequence[_Row], rng: Random) -> ToolBatch:
        width = max(len(row.ids) for row in rows)
        numbers, texts = self._offered(rows, rng)
        ids, targets = torch.full((2, len(rows), width), self._pad).unbind()
        weight, closed = torch.zeros(len(rows), width), torch.ones(len(rows), width, dtype=torch.bool)
        for number, row in enumerate(rows):
            length = len(row.ids)
            ids[number, :length] = torch.tensor(row.ids)
            targets[number, : length - 1] = ids[number, 1:length]
            weight[number, :length] = torch.tensor(row.weight)
            if row.lesson.aided:
                closed[number, row.head - 1 : length] = False
            for position, tool in row.calls.items():
                targets[number, position] = len(self._vocabulary) + numbers[_key(row.lesson, tool)]
        return ToolBatch(ids, targets, weight, closed, texts)

    def _offered(self, rows: Sequence[_Row], rng: Random) -> tuple[dict[str, int], tuple[Tensor, ...]]:
        """The number of each tool that the rows call, and the texts of all on offer; the shorter half comes first."""
        abouts = {_key(row.lesson, tool): text for row in rows for tool, text in row.lesson.abouts.items()}
        abouts |= {rival: rival for row in rows for rival in row.lesson.rivals}
        others = [tool for tool in descriptions() if tool not in abouts]
        abouts |= {tool: about(rng, tool) for tool in rng.sample(others, min(_EXTRA_TOOLS, len(others)))}
        encoded = sorted(((key, self._text(text, rng)) for key, text in abouts.items()), key=lambda item: len(item[1]))
        middle = 2 * len(encoded) // 3
        parts = [part for part in (encoded[:middle], encoded[middle:]) if part]
        return {key: number for number, (key, _) in enumerate(encoded)}, tuple(
            self._padded([ids for _, ids in part]) for part in parts
        )

    def _padded(self, texts: Sequence[list[int]]) -> Tensor:
        padded = torch.full((len(texts), max(map(len, texts))), self._pad)
        for number, text in enumerate(texts):
            padded[number, : len(text)] = torch.tensor(text)
        return padded

    def _text(self, text: str, rng: Random) -> list[int]:
        """A tool's text as plain text, or as a turn of the chat template: either is how a program may encode it."""
        if rng.random() < 0.5:
            return self._characters(text)
        return [self._user, *self._characters(text.lower()), self._assistant]


def _key(lesson: Lesson, tool: str) -> str:
    """What tells tools of a batch apart: the name of one that many lessons call, the text of a made-up one."""
    return tool if tool in descriptions() else lesson.abouts[tool]
