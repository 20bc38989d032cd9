"""Labels on disk: a folder that grows by whole shards, so that a killed run goes on where it stopped.

::

    LABELS/
      labels.json           LabelSettings: what they were made from and how
      statistics.json       written when all shards are there
      00000.safetensors     per position of the responses of one shard: hidden, logits, proposal, written, label, problem
      00000.jsonl           one line a problem; it is written last, so a shard without it does not count
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from router.errors import DataError
from router.token_level.problems import Problem, Split

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS_NAME = "labels.json"
STATISTICS_NAME = "statistics.json"


class Label(IntEnum):
    """What the small model's proposal is at a position of the large model's response."""

    IDENTICAL = 0
    NEUTRAL = 1
    DIVERGENT = 2
    UNCLEAR = 3


class LabelSettings(BaseModel):
    """What labels were made from. A folder holds labels of one setting only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    small: str
    small_fingerprint: str
    large: str
    large_fingerprint: str
    data: str
    data_hash: str
    verifier: str
    mark: str | None
    until: Literal["answer", "sentence"]
    sentences: int
    system: str | None
    max_tokens: int
    problems_a_shard: int


@dataclass(frozen=True)
class Positions:
    """Rows of a shard, one a position of a response.

    Attributes:
        hidden: the small model's final normalised state before the position, [n, width].
        logits: its greatest logits, sorted, [n, k].
        proposal: its most probable token, int32 [n].
        written: the token that the large model wrote, int32 [n].
        label: ``Label``, uint8 [n].
        problem: index of the problem within the shard, int32 [n].
    """

    hidden: Tensor
    logits: Tensor
    proposal: Tensor
    written: Tensor
    label: Tensor
    problem: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Labelled:
    """One problem with its response; ``right`` is None where nobody can tell.

    Attributes:
        divergent: number of positions at which the small model's token would have changed the outcome.
        dropped: why it has no positions: the response is ``wrong``, or was ``cut`` at the longest length.
    """

    problem: Problem
    response: str
    right: bool | None
    tokens: int
    divergent: int = 0
    dropped: Literal["wrong", "cut"] | None = None


class LabelFolder:
    """A folder of labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def settings(self) -> LabelSettings:
        """What the labels were made from.

        Raises:
            DataError: the folder has no labels.
        """
        path = self.folder / SETTINGS_NAME
        try:
            return LabelSettings.model_validate_json(path.read_bytes())
        except OSError as error:
            expected = "a folder made by `tokengraph train token-router label`"
            raise DataError(str(self.folder), expected, f"no {SETTINGS_NAME} in it ({error.strerror})") from error
        except ValidationError as error:
            raise DataError(str(path), "settings of labels", error.errors(include_url=False)[0]["msg"]) from error

    def begin(self, settings: LabelSettings) -> None:
        """Makes the folder, or takes it up again.

        Raises:
            DataError: it holds labels that were made otherwise.
        """
        path = self.folder / SETTINGS_NAME
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(path, settings.model_dump_json(indent=2).encode() + b"\n")
            return
        now, before = settings.model_dump(), self.settings.model_dump()
        changed = [name for name in now if now[name] != before[name]]
        if changed:
            found = ", ".join(f"{name} {before[name]!r} there and {now[name]!r} now" for name in changed)
            raise DataError(str(path), "labels made in the same way", f"{found}. Choose another folder")

    def shards(self) -> list[int]:
        """The numbers of the shards that are complete."""
        return sorted(int(path.stem) for path in self.folder.glob("[0-9]*.jsonl"))

    def write(self, shard: int, positions: Positions, problems: Sequence[Labelled]) -> None:
        """Adds a shard; it counts once both of its files are there whole."""
        from safetensors.torch import save

        _write(self._path(shard, "safetensors"), save({n: t.contiguous() for n, t in vars(positions).items()}))
        lines = [json.dumps(asdict(problem), ensure_ascii=False) for problem in problems]
        _write(self._path(shard, "jsonl"), "".join(line + "\n" for line in lines).encode())

    def problems(self, shard: int) -> list[Labelled]:
        """The problems of a shard."""
        lines = self._path(shard, "jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [Labelled(**{**row, "problem": Problem(**row["problem"])}) for row in rows]

    def all_problems(self, split: Split | None = None) -> list[Labelled]:
        """The problems of all shards, of one split if it is given."""
        found = [row for shard in self.shards() for row in self.problems(shard)]
        return [row for row in found if split in (None, row.problem.split)]

    def labels(self, shard: int) -> tuple[Tensor, Tensor]:
        """``label`` and ``problem`` of a shard alone; the features stay on disk."""
        from safetensors import safe_open

        with safe_open(self._path(shard, "safetensors"), "pt") as file:
            return file.get_tensor("label"), file.get_tensor("problem")

    def positions(self, shard: int) -> Positions:
        """The rows of a shard."""
        from safetensors.torch import load_file

        return Positions(**load_file(self._path(shard, "safetensors")))

    def write_statistics(self, statistics: dict[str, Any]) -> None:
        """Keeps what was counted over all shards."""
        _write(self.folder / STATISTICS_NAME, json.dumps(statistics, indent=2).encode() + b"\n")

    def __iter__(self) -> Iterator[int]:
        return iter(self.shards())

    def _path(self, shard: int, kind: str) -> Path:
        return self.folder / f"{shard:05d}.{kind}"


def _write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
