"""Calendar: weekdays and months before and after, lengths of months, leap years."""

from __future__ import annotations

from calendar import isleap
from collections.abc import Callable, Sequence
from random import Random

from experts.pocket.domains.base import Domain, Problem, Task

Sampler = Callable[[Random], Problem]

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGER = {"Tuesday": "Tues", "Wednesday": "Weds", "Thursday": "Thurs", "September": "Sept"}
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth",
    "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
)  # fmt: skip


def _code(name: str) -> str:
    return name[:3].lower()


def _typed(name: str, rng: Random) -> str:
    """A weekday or month as a person might type it: in full or short, with or without capitals."""
    if rng.random() < 0.25:
        name = _LONGER[name] if name in _LONGER and rng.random() < 0.4 else name[:3]
    return rng.choices((name, name.lower(), name.upper()), (5, 5, 0.5))[0]


def _number(n: int, rng: Random) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) and rng.random() < 0.25 else str(n)


def _year(rng: Random) -> int:
    """A year from 1 to 2999: mostly 1600 to 2400, often a century, often a multiple of four."""
    kind = rng.random()
    if kind < 0.2:
        return rng.choice((rng.randrange(100, 3000, 100), rng.randrange(1500, 2500, 100)))
    year = rng.randint(*((1, 2999) if kind < 0.35 else (1900, 2099) if kind < 0.6 else (1600, 2400)))
    return max(4, year // 4 * 4) if rng.random() < 0.35 else year


def _between(low: int, *highs: int) -> Callable[[Random], int]:
    return lambda rng: rng.randint(low, rng.choice(highs))


def _shift(names: Sequence[str], slot: str, sign: int, draw: Callable[[Random], int], unit: str = "n") -> Sampler:
    """`mon+10`: 7+3=Thursday. The working takes the full rounds through the names apart from the rest."""

    def sample(rng: Random) -> Problem:
        at, count, cycle = rng.randrange(len(names)), draw(rng), len(names)
        slots = {slot: _typed(names[at], rng), unit: _number(count, rng)}
        canonical = f"{_code(names[at])}{'+' if sign > 0 else '-'}{count}"
        if unit == "weeks":  # `mon+2w`: whole rounds
            return Problem(slots, canonical + "w", names[at])
        working = f"{count // cycle * cycle}+{count % cycle}="
        return Problem(slots, canonical, names[(at + sign * count) % cycle], working)

    return sample


def sample_days_in_month(rng: Random) -> Problem:
    """`days apr`: 30; february without a year has 28."""
    at = rng.randrange(12)
    return Problem({"month": _typed(_MONTHS[at], rng)}, f"days {_code(_MONTHS[at])}", str(_LENGTHS[at]))


def sample_days_in_month_year(rng: Random) -> Problem:
    """`days feb 2024`: 29."""
    at, year = 1 if rng.random() < 0.75 else rng.randrange(12), _year(rng)
    days = _LENGTHS[at] + (at == 1 and isleap(year))
    slots = {"month": _typed(_MONTHS[at], rng), "year": str(year)}
    return Problem(slots, f"days {_code(_MONTHS[at])} {year}", str(days), key=f"year {year}")


def sample_leap_year(rng: Random) -> Problem:
    """`leap 2024`: yes."""
    year = _year(rng)
    return Problem({"year": str(year)}, f"leap {year}", "yes" if isleap(year) else "no", key=f"year {year}")


def sample_next_leap_year(rng: Random) -> Problem:
    """`nextleap 2021`: 2024, the first leap year later than the given one."""
    year = _year(rng)
    later = next(y for y in range(year + 1, year + 9) if isleap(y))
    return Problem({"year": str(year)}, f"nextleap {year}", str(later), key=f"year {year}")


def sample_month_number(rng: Random) -> Problem:
    """`number jul`: 7."""
    at = rng.randrange(12)
    return Problem({"month": _typed(_MONTHS[at], rng)}, f"number {_code(_MONTHS[at])}", str(at + 1))


def sample_nth_month(rng: Random) -> Problem:
    """`month 7`: July. The slot n is an ordinal, k a plain number."""
    n = rng.randint(1, 12)
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(n, "th")
    slots = {"n": rng.choice((_ORDINALS[n - 1], f"{n}{suffix}")), "k": _number(n, rng)}
    return Problem(slots, f"month {n}", _MONTHS[n - 1])


def _order(word: str, pick: Callable[[int, int], int]) -> Sampler:
    def sample(rng: Random) -> Problem:
        a, b = rng.sample(range(12), 2)
        slots = {"month": _typed(_MONTHS[a], rng), "month2": _typed(_MONTHS[b], rng)}
        return Problem(slots, f"{word} {_code(_MONTHS[a])} {_code(_MONTHS[b])}", _MONTHS[pick(a, b)])

    return sample


DOMAIN = Domain(
    name="calendar",
    description="weekdays and months before and after, lengths of months, leap years",
    tasks=(
        Task("weekday_after", _shift(_DAYS, "day", 1, _between(0, 14, 14, 14, 60, 100, 100, 999))),
        Task("weekday_before", _shift(_DAYS, "day", -1, _between(0, 14, 14, 14, 60, 100, 100, 999))),
        Task("weekday_after_weeks", _shift(_DAYS, "day", 1, _between(2, 6, 6, 6, 20, 20, 142), "weeks")),
        Task("weekday_before_weeks", _shift(_DAYS, "day", -1, _between(2, 6, 6, 6, 20, 20, 142), "weeks")),
        Task("weekday_tomorrow", _shift(_DAYS, "day", 1, _between(1, 1)), holds_out=False),
        Task("weekday_yesterday", _shift(_DAYS, "day", -1, _between(1, 1)), holds_out=False),
        Task("days_in_month", sample_days_in_month, holds_out=False),
        Task("days_in_month_year", sample_days_in_month_year),
        Task("leap_year", sample_leap_year),
        Task("next_leap_year", sample_next_leap_year),
        Task("month_after", _shift(_MONTHS, "month", 1, _between(1, 6, 12, 24)), holds_out=False),
        Task("month_before", _shift(_MONTHS, "month", -1, _between(1, 6, 12, 24)), holds_out=False),
        Task("month_next", _shift(_MONTHS, "month", 1, _between(1, 1)), holds_out=False),
        Task("month_previous", _shift(_MONTHS, "month", -1, _between(1, 1)), holds_out=False),
        Task("month_number", sample_month_number, holds_out=False),
        Task("nth_month", sample_nth_month, holds_out=False),
        Task("earlier_month", _order("first", min), holds_out=False),
        Task("later_month", _order("second", max), holds_out=False),
    ),
    weights={
        "weekday_after": 3.0, "weekday_before": 3.0, "weekday_after_weeks": 0.7, "weekday_before_weeks": 0.7,
        "weekday_tomorrow": 0.6, "weekday_yesterday": 0.6, "leap_year": 3.0, "next_leap_year": 2.0,
        "days_in_month_year": 1.5,
    },
)  # fmt: skip
