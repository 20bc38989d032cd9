"""Dates: days between them, their weekdays, dates some time later or earlier."""

from __future__ import annotations

from calendar import day_name, month_name, monthrange
from collections.abc import Callable
from datetime import date, timedelta
from random import Random

from experts.pocket.domains.base import Domain, Task
from experts.pocket.tools.problem import Call, ToolProblem, arguments, text, tool_problem

_FIRST, _LAST = date(1800, 1, 1), date(2199, 12, 31)
_UNITS = ("years", "months", "weeks", "days")  # in the order of the tool's parameters


def _day(rng: Random) -> date:
    """A day, in the recent past or the near future half of the time."""
    first, last = (date(1950, 1, 1), date(2049, 12, 31)) if rng.random() < 0.5 else (_FIRST, _LAST)
    return first + timedelta(days=rng.randrange((last - first).days))


def _typed(day: date, rng: Random) -> str:
    """As a person writes it: ISO, or with the month's name in one of its forms."""
    name = month_name[day.month]
    if len(name) > 3 and rng.random() < 0.3:
        name = name[:3]
    suffix = "th" if 10 < day.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    form = rng.choices(
        ("{iso}", "{name} {d}, {y}", "{d} {name} {y}", "{name} {d}{suffix}, {y}", "{name} {d} {y}", "the {d}{suffix} of {name} {y}",
         "{d}{suffix} {name} {y}", "{d}. {name} {y}"), (6, 4, 3, 2, 2, 1, 2, 0.5),
    )[0]  # fmt: skip
    written = form.format(iso=day.isoformat(), name=name, d=day.day, y=day.year, suffix=suffix)
    return written.lower() if rng.random() < 0.6 else written


def sample_days_between(rng: Random) -> ToolProblem:
    """The days from a date to a later one."""
    first = _day(rng)
    second = first + timedelta(days=rng.randint(1, rng.choice((10, 60, 400, 4000, 40000))))
    days = str((second - first).days)
    slots = {"first": _typed(first, rng), "second": _typed(second, rng)}
    call = Call("days_between", arguments(text(first.isoformat()), text(second.isoformat())), days)
    return tool_problem(slots, call, " day" if days == "1" else " days")


def sample_weekday(rng: Random) -> ToolProblem:
    """The weekday of a date."""
    day = _day(rng)
    call = Call("weekday", arguments(text(day.isoformat())), day_name[day.weekday()])
    return tool_problem({"day": _typed(day, rng)}, call)


def moved(day: date, years: int, months: int, weeks: int, days: int) -> date:
    """A date so much later; a day that its new month lacks becomes the month's last."""
    year, month = divmod(day.year * 12 + day.month - 1 + 12 * years + months, 12)
    last = monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last)) + timedelta(weeks=weeks, days=days)


def _moving(sign: int) -> Callable[[Random], ToolProblem]:
    def sample(rng: Random) -> ToolProblem:
        day, unit = _day(rng), rng.choices(_UNITS, (1, 2, 2, 4))[0]
        count = rng.randint(1, {"years": 30, "months": 30, "weeks": 60, "days": rng.choice((30, 100, 1000))}[unit])
        steps = [sign * count if unit == other else 0 for other in _UNITS]
        slots = {"day": _typed(day, rng), "n": str(count), "unit": unit[:-1] if count == 1 else unit}
        call = Call("add_to_date", arguments(text(day.isoformat()), *steps), moved(day, *steps).isoformat())
        return tool_problem(slots, call)

    return sample


DOMAIN = Domain(
    name="tool_dates",
    description="counts the days between dates, finds weekdays, adds to dates and goes back from them",
    tasks=(
        Task("days_between", sample_days_between),
        Task("weekday", sample_weekday),
        Task("later", _moving(1)),
        Task("earlier", _moving(-1)),
    ),
    weights={"later": 0.7, "earlier": 0.6},
)
