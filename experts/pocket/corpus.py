"""Endless training text and fixed test sets, both drawn from the domains by seed.

Training, validation and test share neither problems nor templates: both are assigned to a split by hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from experts.pocket.domains import NAMES, OFF_TOPIC, load_domain, load_phrasings
from experts.pocket.domains.base import Split
from experts.pocket.phrasing import phrase, templates_of

UNKNOWN_NODE = "<node_unknown>"
FUNCTIONAL_TOKENS = {name: f"<node_{i}>" for i, name in enumerate(NAMES)}
OFF_TOPIC_SHARE = 0.24


class Pair(NamedTuple):
    """What a model reads and what it is to write.

    ``confined_from`` is for behaviours that a mixture learns in few experts: the place in the prompt, lower-cased and
    trimmed, from which on the behaviour is called for; None for everything else.
    """

    prompt: str
    response: str
    confined_from: int | None = None


@dataclass(frozen=True)
class Example:
    """One question as typed, as rewritten, and its answer. ``domain`` is None for an off-topic question."""

    query: str
    domain: str | None
    task: str
    canonical: str
    response: str
    answer: str

    @property
    def functional(self) -> str:
        """What the master writes: the functional token, then the reformulated query; up to the end token."""
        return UNKNOWN_NODE if self.domain is None else f"{FUNCTIONAL_TOKENS[self.domain]}('{self.canonical}')"


def draw_example(rng: Random, name: str, split: Split, *, noise: float = 0.25) -> Example:
    """A problem of a domain in one of the split's phrasings."""
    task, problem = load_domain(name).draw(rng, split)
    templates = templates_of(load_phrasings(name)[task.name], split)
    query = phrase(rng.choice(templates), problem.slots, rng, noise=noise)
    domain = None if name == OFF_TOPIC else name
    return Example(query, domain, task.name, problem.canonical, problem.response, problem.answer)


def draw_mixed(rng: Random, split: Split, *, noise: float = 0.25, off_topic: float = OFF_TOPIC_SHARE) -> Example:
    """An example of any domain, or off-topic."""
    name = OFF_TOPIC if rng.random() < off_topic else rng.choice(NAMES)
    return draw_example(rng, name, split, noise=noise)


def fixed_set(name: str, split: Split, size: int, *, seed: int = 0, noise: float = 0.25) -> list[Example]:
    """The fixed set of ``size`` examples of one domain that scores are reported on."""
    rng = Random(f"{name}/{split}/{seed}")
    return [draw_example(rng, name, split, noise=noise) for _ in range(size)]


def specialist_pairs(rng: Random, name: str, split: Split) -> Iterator[Pair]:
    """(canonical query, response) of one domain, its practice included: what a specialist learns."""
    domain = load_domain(name)
    while True:
        if domain.practice and rng.random() < 0.5:
            problem = rng.choice(domain.practice).draw(rng, split)
        else:
            _, problem = domain.draw(rng, split)
        yield Pair(problem.canonical, problem.response)


def master_pairs(rng: Random, split: Split) -> Iterator[Pair]:
    """(query, functional token and reformulated query): what the master learns."""
    while True:
        example = draw_mixed(rng, split)
        yield Pair(example.query, example.functional)


def generalist_pairs(rng: Random, split: Split) -> Iterator[Pair]:
    """(query, response) of every domain: what the generalist learns, the specialists' working included."""
    while True:
        example = draw_mixed(rng, split, off_topic=0.0)
        yield Pair(example.query, example.response)
