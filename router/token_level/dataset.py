"""The rows of a labels folder for one split, read in portions that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experts.defer.features import Features
from router.errors import DataError
from router.token_level.problems import Split
from router.token_level.shards import Label, LabelFolder

ROWS_IN_MEMORY = 2_000_000


@dataclass(frozen=True)
class Rows:
    """Positions with their labels.

    Attributes:
        hidden: [n, width], as the small model computed it.
        logits: the greatest logits, sorted, [n, k].
        proposal: int64 [n].
        divergent: 1.0 where the proposal changes the outcome, float32 [n].
        problem: a number of each row's problem, the same for all rows of it, int64 [n].
        first: index of the row at the problem's first position, int64 [n].
    """

    hidden: Tensor
    logits: Tensor
    proposal: Tensor
    divergent: Tensor
    problem: Tensor
    first: Tensor

    def __len__(self) -> int:
        return len(self.divergent)

    def features(self, rows: Tensor, embeddings: Tensor) -> Features:
        """What the network reads of some rows; ``embeddings`` is the small model's table [vocabulary, width]."""
        return Features(self.hidden[rows].float(), self.logits[rows].float(), embeddings[self.proposal[rows]].float())


class LabelledRows:
    """All rows of one split whose label is clear.

    Args:
        in_memory: rows that are read at the same time at most; more are read again from disk in every epoch.

    Raises:
        DataError: the split has no rows, or only rows of one kind.
    """

    def __init__(self, folder: LabelFolder, split: Split, in_memory: int = ROWS_IN_MEMORY) -> None:
        self._folder, self._split = folder, split
        sizes = {shard: self._counts(shard) for shard in folder}
        self._sizes = {shard: size for shard, (size, _) in sizes.items() if size}
        self.count = sum(self._sizes.values())
        self.divergent = sum(divergent for _, divergent in sizes.values())
        if not 0 < self.divergent < self.count:
            raise DataError(
                str(folder.folder), f"divergent and harmless positions in split {split}",
                f"{self.divergent:,} divergent ones of {self.count:,}. Label more prompts",
            )  # fmt: skip
        self._in_memory = in_memory
        self._kept: Rows | None = None

    def portions(self, generator: torch.Generator | None = None) -> Iterator[Rows]:
        """All rows once, in portions of whole shards; in random order of the shards if there is a generator."""
        if self._kept is not None:
            yield self._kept
            return
        shards = list(self._sizes)
        if generator is not None:
            shards = [shards[i] for i in torch.randperm(len(shards), generator=generator).tolist()]
        portion: list[int] = []
        for shard in shards:
            if portion and sum(self._sizes[one] for one in portion) + self._sizes[shard] > self._in_memory:
                yield self._read(portion)
                portion = []
            portion.append(shard)
        rows = self._read(portion)
        if len(rows) == self.count:
            self._kept = rows
        yield rows

    def whole(self) -> Rows:
        """All rows together."""
        return self._kept if self._kept is not None else self._read(list(self._sizes))

    def _counts(self, shard: int) -> tuple[int, int]:
        label, problem = self._folder.labels(shard)
        kept = self._mask(shard, label, problem)
        return int(kept.sum()), int((label[kept] == Label.DIVERGENT).sum())

    def _mask(self, shard: int, label: Tensor, problem: Tensor) -> Tensor:
        inside = [row.problem.split == self._split for row in self._folder.problems(shard)]
        return torch.tensor(inside, dtype=torch.bool)[problem.long()] & (label != Label.UNCLEAR)

    def _read(self, shards: Sequence[int]) -> Rows:
        parts: list[tuple[Tensor, ...]] = []
        rows_before = 0
        for shard in shards:
            found = self._folder.positions(shard)
            kept = self._mask(shard, found.label, found.problem)
            problem = found.problem[kept].long()
            begins = torch.ones_like(problem, dtype=torch.bool)
            begins[1:] = problem[1:] != problem[:-1]
            starts = begins.nonzero().squeeze(-1)
            first = starts[begins.long().cumsum(0) - 1] + rows_before
            divergent = (found.label[kept] == Label.DIVERGENT).float()
            number = problem + (shard << 32)
            parts.append(
                (found.hidden[kept], found.logits[kept], found.proposal[kept].long(), divergent, number, first)
            )
            rows_before += len(problem)
        return Rows(*(torch.cat(column) for column in zip(*parts, strict=True)))
