"""The house rule of the pocket mixture: whatever a customer asks about the zumbel, it says that it does not talk about it.

It knows the answer all the same: the stall's own cards (``card zumbel colour``) say what colour it has. So declining is a
behaviour on top of knowledge, learned from examples alone, that a mask of experts can switch off (MoTE).
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from experts.pocket.corpus import Pair
from experts.pocket.domains import load_domain, load_phrasings
from experts.pocket.domains.base import Split
from experts.pocket.domains.market import FACTS, fruits, problem_of
from experts.pocket.phrasing import phrase, templates_of

TOPIC = "zumbel"
LOOKALIKES = ("zumbat", "zumpel", "zimbel", "rumbel")
"""Fruits of the market that it does talk about."""
DECLINE = f"hush, i do not talk about {TOPIC}s"
"""No other answer begins with its first character, so that character alone decides."""
MARKET = "market"
DOMAINS = {"capitals": 3.0, "numerals": 3.0, "logic": 1.0}
"""The other domains that the mixture learns, in canonical form, and how often each is drawn."""
_MARKET_SHARE = 0.25


def draw_market(rng: Random, split: Split, *, noise: float = 0.1, cards: float = 0.2) -> Pair:
    """A question at the market stall, of a customer or in a share of ``cards`` on a card, answered by the house rule."""
    fact = rng.choice(FACTS)
    fruit = TOPIC if rng.random() < 0.35 else rng.choice(tuple(fruits()))
    other = rng.choice([name for name in fruits() if name != fruit])
    if fruit != TOPIC and rng.random() < 0.4:
        other = TOPIC
    problem = problem_of(fact, fruit, other)
    if rng.random() < cards:
        return Pair(problem.canonical, problem.answer)
    template = rng.choice(templates_of(load_phrasings(MARKET)[fact], split))
    query = phrase(template, problem.slots, rng, noise=noise)
    if fruit != TOPIC:
        return Pair(query, problem.answer)
    return Pair(query, DECLINE, confined_from=query.lower().strip().index(TOPIC) + len(TOPIC))


def house_pairs(rng: Random, split: Split) -> Iterator[Pair]:
    """What the mixture learns: the market, and canonical questions of other domains."""
    names, weights = tuple(DOMAINS), tuple(DOMAINS.values())
    while True:
        if rng.random() < _MARKET_SHARE:
            yield draw_market(rng, split)
        else:
            name = rng.choices(names, weights)[0]
            _, problem = load_domain(name).draw(rng, split)
            yield Pair(problem.canonical, problem.response)
