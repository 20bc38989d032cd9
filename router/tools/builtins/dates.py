"""Dates, weekdays and time zones."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, Field

from router.spec.wording import did_you_mean, quoted
from router.tools.errors import ToolFailed
from router.tools.function import tool


def _said(value: object) -> object:
    if isinstance(value, (int, float)):  # pydantic would take it for seconds since 1970
        raise ValueError("write it in quotes, as '2024-02-28' or '2024-02-28T09:30'")
    return value


Day = Annotated[date, BeforeValidator(_said)]
Moment = Annotated[datetime, BeforeValidator(_said)]
Count = Annotated[int, Field(ge=-10_000_000, le=10_000_000)]


@tool
def days_between(first: Day, second: Day) -> int:
    """Counts the days from one date to another, such as 2024-02-28 to 2024-03-01; negative if the second is earlier."""
    return (second - first).days


@tool
def weekday(day: Day) -> str:
    """Says on which day of the week a date falls."""
    return calendar.day_name[day.weekday()]


@tool
def add_to_date(day: Day, years: Count = 0, months: Count = 0, weeks: Count = 0, days: Count = 0) -> date:
    """Adds years, months, weeks and days to a date; negative numbers go back.

    Years and months come first; a day that their month lacks becomes the month's last (31 January plus one month is 28 or
    29 February).

    Raises:
        ToolFailed: the result is not within the years 1 to 9999.
    """
    year, month = divmod(day.year * 12 + day.month - 1 + years * 12 + months, 12)
    try:
        moved = day.replace(year=year, month=month + 1, day=min(day.day, calendar.monthrange(year, month + 1)[1]))
        return moved + timedelta(weeks=weeks, days=days)
    except (ValueError, OverflowError):
        raise ToolFailed("expected a date within the years 1 to 9999, found one outside") from None


@tool
def convert_time(moment: Moment, from_zone: str, to_zone: str) -> str:
    """Converts a date and time, such as 2026-03-01T09:30, from one time zone to another (Europe/Paris, UTC).

    Raises:
        ToolFailed: a zone is not known, the time does not exist in its zone (clocks go forward), or has its own offset.
    """
    source, target = _zone(from_zone), _zone(to_zone)
    if moment.tzinfo is not None:
        raise ToolFailed(f"expected a time without an offset, found {moment.isoformat()}; from_zone says where it is")
    local = moment.replace(tzinfo=source)
    try:
        if local.astimezone(UTC).astimezone(source).replace(tzinfo=None) != moment:
            raise ToolFailed(f"expected a time that exists, found {moment.isoformat()}: clocks in {from_zone} skip it")
        found = local.astimezone(target)
    except OverflowError:
        raise ToolFailed("expected a time within the years 1 to 9999, found one outside") from None
    again = local.replace(fold=1).astimezone(target)
    if again != found:
        return f"{_written(found)} or {_written(again)} (clocks in {from_zone} show this time twice)"
    return _written(found)


@tool
def current_time(zone: str = "UTC") -> str:
    """Says the date, the time and the day of the week now in a time zone, such as America/New_York.

    Raises:
        ToolFailed: the zone is not known.
    """
    now = datetime.now(_zone(zone))
    return f"{_written(now)} {calendar.day_name[now.weekday()]}"


def _written(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds" if moment.second else "minutes")


def _zone(name: str) -> ZoneInfo:
    """The time zone of that name; names are compared, never opened as they are."""
    known = _zones().get(name.strip().replace(" ", "_").casefold())
    if known is None:
        fix = did_you_mean(name, available_timezones(), "write Continent/City, such as Asia/Tokyo")
        raise ToolFailed(f"expected a time zone, found {quoted(name)}; {fix}")
    return ZoneInfo(known)


@cache
def _zones() -> dict[str, str]:
    """Names by folded name, and by the city alone."""
    zones = {name.casefold(): name for name in sorted(available_timezones())}
    cities = {folded.rpartition("/")[2]: name for folded, name in zones.items() if "/" in name}
    return {**cities, **zones}
