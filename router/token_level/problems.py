"""What a token router is trained on and measured with: JSON lines of ``{"prompt", "answer"?, "split"?}``.

A prompt and everything that comes of it belong to one split. ``train`` fits the network, ``valid`` stops it early,
``calibration`` sets thresholds and is used for nothing else, and ``test`` is looked at by the evaluation alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, field_validator

from experts.engines.requests import GenerateRequest, Message
from router.errors import DataError
from router.json_lines import read_rows

Split = Literal["train", "valid", "calibration", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
_BOUNDS: tuple[tuple[Split, float], ...] = (("valid", 0.1), ("calibration", 0.2), ("test", 0.3), ("train", 1.0))


@dataclass(frozen=True)
class Problem:
    """A prompt, the answer that is expected (if one is known), and the split that it belongs to."""

    prompt: str
    answer: str | None
    split: Split

    def request(self, system: str | None, max_tokens: int) -> GenerateRequest:
        """The greedy request that asks it."""
        turns = (Message("system", system),) if system else ()
        return GenerateRequest(messages=(*turns, Message("user", self.prompt)), max_tokens=max_tokens)


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt: str
    answer: str | None = None
    split: Split | None = None

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("the prompt is empty")
        return prompt


def read_problems(path: Path) -> list[Problem]:
    """Reads a file of prompts; blank lines and repeated prompts are skipped, other keys of a row ignored.

    Raises:
        DataError: the file is missing, not JSON lines, has a row that is wrong, puts one prompt into two splits, or
            has no rows.
    """
    problems: dict[str, Problem] = {}
    for row, where in read_rows(path, _Row, '{"prompt": ..., "answer": ...}'):
        problem = Problem(row.prompt, row.answer, row.split or split_of(row.prompt))
        earlier = problems.setdefault(_normal(problem.prompt), problem)
        if earlier.split != problem.split:
            found = f"a prompt that stands above in split {earlier.split}. Remove one of the two lines"
            raise DataError(where, "every prompt in one split", found)
    if not problems:
        raise DataError(str(path), "at least one prompt", "an empty file")
    return list(problems.values())


def split_of(prompt: str) -> Split:
    """The split of a prompt that names none: by a hash of it, so it stays where it is when others are added.

    70 % train, a tenth each is for validation, calibration and test.
    """
    digest = hashlib.blake2b(_normal(prompt).encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return next(split for split, bound in _BOUNDS if place < bound)


def check_unseen(tests: Sequence[Problem], known: Sequence[Problem], where: str) -> None:
    """Raises DataError if a test prompt is among those that a router was trained or calibrated with."""
    used = {_normal(problem.prompt): problem.split for problem in known if problem.split != "test"}
    for problem in tests:
        if (split := used.get(_normal(problem.prompt))) is not None:
            raise DataError(where, f"prompts that were not used in split {split}", repr(problem.prompt))


def _normal(prompt: str) -> str:
    return " ".join(prompt.lower().split())
