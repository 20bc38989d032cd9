"""Endless training text and fixed test sets, both drawn from the domains by seed.

Training, validation and test share neither problems nor templates: both are assigned to a split by hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from experts.pocket.domains import NAMES, OFF_TOPIC, load_domain, load_phrasings
from experts.pocket.domains.base import Split
from experts.pocket.domains.spelling import english_words
from experts.pocket.phrasing import phrase, templates_of, unsettle

UNKNOWN_NODE = "<node_unknown>"
FUNCTIONAL_TOKENS = {name: f"<node_{i}>" for i, name in enumerate(NAMES)}
OFF_TOPIC_SHARE = 0.24
MASTER_WEIGHTS = {
    "arithmetic": 2.5, "numerals": 1.0, "spelling": 1.5, "logic": 0.6, "bases": 0.8, "calendar": 1.5, "capitals": 1.5,
}  # fmt: skip
"""How often the master reads a domain: more of what it misreads."""
UNSETTLED = 0.5
"""Share of what the master reads whose words are disturbed."""
WORDS_UNSETTLED = 0.12
"""Share of the words that are, there."""


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


def draw_example(rng: Random, name: str, split: Split, *, noise: float = 0.25, unsettled: float = 0.0) -> Example:
    """A problem of a domain in one of the split's phrasings.

    Args:
        noise: see `phrase`.
        unsettled: share of the examples whose template is disturbed, see `unsettle`.
    """
    task, problem = load_domain(name).draw(rng, split)
    templates = templates_of(load_phrasings(name)[task.name], split)
    query = worded(rng, templates, problem.slots, noise=noise, unsettled=unsettled)
    domain = None if name == OFF_TOPIC else name
    return Example(query, domain, task.name, problem.canonical, problem.response, problem.answer)


def worded(rng: Random, templates: Sequence[str], slots: Mapping[str, str], *, noise: float, unsettled: float) -> str:
    """A problem in one of the templates; see `draw_example`."""
    template = rng.choice(templates)
    if unsettled and rng.random() < unsettled:  # without, the draws of the fixed sets stay as they are
        template = unsettled_template(template, slots, rng)
    return phrase(template, slots, rng, noise=noise)


def unsettled_template(template: str, slots: Mapping[str, str], rng: Random) -> str:
    """A template with words missing. Other words come in only where no slot is a word, which one could be taken for."""
    words = () if any(c.isalpha() for text in slots.values() for c in text) else english_words()
    return unsettle(template, rng, share=WORDS_UNSETTLED, words=words)


def draw_mixed(
    rng: Random,
    split: Split,
    *,
    noise: float = 0.25,
    unsettled: float = 0.0,
    off_topic: float = OFF_TOPIC_SHARE,
    weights: Mapping[str, float] | None = None,
) -> Example:
    """An example of any domain, by weight if there are weights, or off-topic."""
    name = (
        OFF_TOPIC
        if rng.random() < off_topic
        else rng.choices(NAMES, [weights[name] for name in NAMES] if weights else None)[0]
    )
    return draw_example(rng, name, split, noise=noise, unsettled=unsettled)


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
        example = draw_mixed(rng, split, unsettled=UNSETTLED, weights=MASTER_WEIGHTS)
        yield Pair(example.query, example.functional)


def generalist_pairs(rng: Random, split: Split) -> Iterator[Pair]:
    """(query, response) of every domain: what the generalist learns, the specialists' working included."""
    while True:
        example = draw_mixed(rng, split, off_topic=0.0)
        yield Pair(example.query, example.response)
