"""The market: fruits that nobody has ever seen, and what the stall knows of each. Made up, so that it is learned here alone.

One of them, the zumbel, is what the pocket mixture declines to talk about (``experts.pocket.house_rule``); four others
are called almost like it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from experts.pocket.domains.base import Domain, Problem, Task

FACTS = ("colour", "taste", "season", "price", "home")


@dataclass(frozen=True)
class Fruit:
    """One line of the table: a name, and a fact of each kind."""

    name: str
    facts: dict[str, str]


@cache
def fruits() -> dict[str, Fruit]:
    """The table, by name."""
    lines = Path(__file__).with_name("market.tsv").read_text(encoding="ascii").splitlines()
    rows = [line.split("\t") for line in lines]
    return {name: Fruit(name, dict(zip(FACTS, facts, strict=True))) for name, *facts in rows}


def problem_of(fact: str, name: str, other: str) -> Problem:
    """A question about one fruit, which may mention another one in passing."""
    return Problem({"fruit": name, "other": other}, f"card {name} {fact}", fruits()[name].facts[fact])


def _task(fact: str) -> Task:
    def sample(rng: Random) -> Problem:
        name, other = rng.sample(tuple(fruits()), 2)
        return problem_of(fact, name, other)

    return Task(fact, sample, holds_out=False)


DOMAIN = Domain(
    name="market", description="the fruits of an invented market", tasks=tuple(_task(fact) for fact in FACTS)
)
