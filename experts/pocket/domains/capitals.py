"""Capitals of the 193 member states of the United Nations, from country to capital and back.

Where several cities share the role, ``capitals.tsv`` names the one that the constitution or the usual lists give.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from experts.pocket.domains.base import Domain, Problem, Task


@dataclass(frozen=True)
class State:
    """One line of the table; names are ASCII, aliases are what else people type."""

    country: str
    country_aliases: tuple[str, ...]
    capital: str
    capital_aliases: tuple[str, ...]


@cache
def states() -> tuple[State, ...]:
    """The table, in alphabetical order."""
    lines = Path(__file__).with_name("capitals.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(_state(*line.split("\t")) for line in lines)


def surface(name: str, aliases: tuple[str, ...], rng: Random) -> str:
    """The name or one of its aliases, capitalised carefully or not."""
    typed = rng.choice(aliases) if aliases and rng.random() < 0.5 else name
    return rng.choices((typed, typed.lower(), typed.upper()), (8, 10, 1))[0]


def draw_state(rng: Random) -> State:
    """A state, more often one that goes by many names."""
    return rng.choices(states(), _weights())[0]


def sample_capital_of(rng: Random) -> Problem:
    """The capital of a country."""
    state = draw_state(rng)
    slots = {"country": surface(state.country, state.country_aliases, rng)}
    return Problem(slots, f"capital {state.country.lower()}", state.capital)


def sample_country_of(rng: Random) -> Problem:
    """The country whose capital is given."""
    state = draw_state(rng)
    slots = {"capital": surface(state.capital, state.capital_aliases, rng)}
    return Problem(slots, f"country {state.capital.lower()}", state.country)


@cache
def _weights() -> tuple[int, ...]:
    return tuple(4 + len(s.country_aliases) + len(s.capital_aliases) for s in states())


def _state(country: str, country_aliases: str, capital: str, capital_aliases: str) -> State:
    return State(country, _split(country_aliases), capital, _split(capital_aliases))


def _split(aliases: str) -> tuple[str, ...]:
    return tuple(aliases.split("|")) if aliases else ()


DOMAIN = Domain(
    name="capitals",
    description="capitals of countries, and the countries of capitals",
    tasks=(
        Task("capital_of", sample_capital_of, holds_out=False),
        Task("country_of", sample_country_of, holds_out=False),
    ),
    weights={"capital_of": 2.0, "country_of": 1.0},
)
