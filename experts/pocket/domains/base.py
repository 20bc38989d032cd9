"""What a pocket domain is made of: problems, the tasks that draw them, and the ways people phrase them.

A problem exists in three forms. A person *phrases* it ("what's 34 times 7, please?"), the master rewrites it in
*canonical* form (``34*7``), and the specialist answers the canonical form, sometimes after some *working*
(``210+28=238``, of which only ``238`` is the answer).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Problem:
    """One question with its answer.

    Attributes:
        slots: the surfaces that fill a phrasing's ``{slots}``: as typed by a person, so variants are welcome.
        canonical: what the master writes and the specialist reads; lower-case ASCII, short and regular.
        answer: the exact answer shown to the user.
        working: what the specialist writes before the answer, ending in ``=``; empty if it answers at once.
        key: the identity that is held out; two problems that give each other away share one key.
        elementary: one of the few facts that everything else is made of; always in training, never in a test.
    """

    slots: Mapping[str, str]
    canonical: str
    answer: str
    working: str = ""
    key: str = ""
    elementary: bool = False

    @property
    def response(self) -> str:
        """The specialist's whole output: the working, then the answer."""
        return self.working + self.answer

    @property
    def split(self) -> Split:
        """The split that this problem belongs to, a function of its key alone unless it is elementary."""
        return "train" if self.elementary else split_of(self.key or self.canonical)


@dataclass(frozen=True)
class Task:
    """One kind of question.

    Attributes:
        sample: draws a problem.
        holds_out: whether problems are held out. False for bare facts (capitals, days in a month): a fact that was
            never seen cannot be known, so only the phrasings of such tasks are held out.
    """

    name: str
    sample: Callable[[Random], Problem]
    holds_out: bool = True

    def draw(self, rng: Random, split: Split) -> Problem:
        """A problem of the given split."""
        while True:
            problem = self.sample(rng)
            if not self.holds_out or problem.split == split:
                return problem


@dataclass(frozen=True)
class Domain:
    """A subject that one specialist answers.

    Attributes:
        weights: how often each task is drawn; 1 unless given.
        practice: tasks that a specialist trains on besides, half of the time, and nobody asks about.
    """

    name: str
    description: str
    tasks: tuple[Task, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    practice: tuple[Task, ...] = ()

    def draw(self, rng: Random, split: Split) -> tuple[Task, Problem]:
        """A task by weight, and a problem of it."""
        task = rng.choices(self.tasks, [self.weights.get(t.name, 1.0) for t in self.tasks])[0]
        return task, task.draw(rng, split)


def split_of(text: str) -> Split:
    """Assigns a text to test (10 %), valid (10 %) or train by its hash, so that membership never depends on order."""
    bucket = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % 10
    return "test" if bucket == 0 else "valid" if bucket == 1 else "train"
