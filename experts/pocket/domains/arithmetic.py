"""Sums, differences and products of small whole numbers."""

from __future__ import annotations

from random import Random

from experts.pocket.domains.base import Domain, Problem, Task

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_words(value: int, joint: str = "-") -> str:
    """A number below 100 in English, with the given joint between tens and units."""
    if value < 20:
        return _UNITS[value]
    tens, units = divmod(value, 10)
    return _TENS[tens] + (joint + _UNITS[units] if units else "")


def _surfaces(rng: Random, a: int, b: int) -> dict[str, str]:
    """Mostly digits; people who write one number in words tend to write both so."""
    chance = 0.9 if rng.random() < 0.13 else 0.03
    joint = rng.choice("- ")
    return {
        slot: number_words(value, joint) if value < 100 and rng.random() < chance else str(value)
        for slot, value in (("a", a), ("b", b))
    }


def _pair(rng: Random) -> tuple[int, int]:
    """Two numbers below 1000, often small, and of like size more often than not."""
    limits = (11, 21, 100, 100, 1000, 1000, 1000)
    limit = rng.choice(limits)
    other = limit if rng.random() < 0.6 else rng.choice(limits)
    return rng.randrange(limit), rng.randrange(other)


def _backwards(value: int) -> str:
    """The working of a sum or difference: its digits from the right, the order in which carries are known."""
    return ("-" if value < 0 else "") + str(abs(value))[::-1] + "="


def sample_add(rng: Random) -> Problem:
    """A sum of two numbers below 1000."""
    a, b = _pair(rng)
    return Problem(_surfaces(rng, a, b), f"{a}+{b}", str(a + b), _backwards(a + b), key=f"add {min(a, b)} {max(a, b)}")


def sample_subtract(rng: Random) -> Problem:
    """A difference of two numbers below 1000, sometimes negative."""
    low, high = sorted(_pair(rng))
    a, b = (low, high) if rng.random() < 0.15 else (high, low)
    return Problem(_surfaces(rng, a, b), f"{a}-{b}", str(a - b), _backwards(a - b), key=f"subtract {a} {b}")


def sample_difference(rng: Random) -> Problem:
    """How far apart two numbers are, whichever is named first.

    Which one is larger is for the specialist to see, so that the master only copies.
    """
    a, b = _pair(rng)
    high, low = max(a, b), min(a, b)
    key = f"subtract {high} {low}"
    return Problem(_surfaces(rng, a, b), f"|{a}-{b}|", str(high - low), _backwards(high - low), key)


def sample_multiply(rng: Random) -> Problem:
    """A product of a number below 100 and a digit, in either order, by way of the tens and the units."""
    large, small = rng.randrange(rng.choice((10, 13, 100, 100, 100))), rng.randrange(10)
    a, b = (large, small) if rng.random() < 0.5 else (small, large)
    low, high = sorted((a, b))
    units = high % 10
    working = f"{(high - units) * low}+{units * low}="
    return Problem(_surfaces(rng, a, b), f"{a}*{b}", str(a * b), working, f"multiply {low} {high}")


DOMAIN = Domain(
    name="arithmetic",
    description="adds, subtracts and multiplies small whole numbers",
    tasks=(
        Task("add", sample_add),
        Task("subtract", sample_subtract),
        Task("difference", sample_difference),
        Task("multiply", sample_multiply),
    ),
    weights={"add": 1.0, "subtract": 1.0, "difference": 0.5, "multiply": 1.0},
)
