"""Dates, time zones and units of measure, right to the last digit or refused with a reason."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.tools.builtins import dates, units
from router.tools.child import as_text
from router.tools.errors import ToolArgumentsError, ToolError, ToolFailed
from router.tools.function import FunctionTool


def _call(tool: FunctionTool, text: str) -> str:
    return as_text(tool.function(**tool.signature.check(tool.name, tool.read(text))))


@pytest.mark.parametrize(
    ("tool", "call", "expected"),
    [
        (dates.days_between, "('2024-02-28', '2024-03-01')", "2"),
        (dates.days_between, "('2024-03-01', '1900-01-01')", "-45350"),
        (dates.weekday, "('2000-01-01')", "Saturday"),
        (dates.weekday, "weekday(2000-01-01)", "Saturday"),
        (dates.add_to_date, "('2024-01-31', months=1)", "2024-02-29"),
        (dates.add_to_date, "('2024-02-29', years=-1, weeks=1, days=-1)", "2023-03-06"),
        (dates.add_to_date, "('2024-12-31', days=1)", "2025-01-01"),
        (dates.add_to_date, "('2024-11-30', months=-9)", "2024-02-29"),
        (dates.convert_time, "('2026-03-01T09:30', 'Europe/Paris', 'Asia/Tokyo')", "2026-03-01 17:30+09:00"),
        (dates.convert_time, "('2026-07-01 09:30:15', 'new york', 'Kathmandu')", "2026-07-01 19:15:15+05:45"),
        (dates.convert_time, "('2026-03-29T01:59', 'Europe/Berlin', 'UTC')", "2026-03-29 00:59+00:00"),
        (dates.convert_time, "('2026-03-29T03:00', 'Europe/Berlin', 'UTC')", "2026-03-29 01:00+00:00"),
        (dates.convert_time, "('2026-10-25T02:30', 'Europe/Berlin', 'UTC')",
         "2026-10-25 00:30+00:00 or 2026-10-25 01:30+00:00 (clocks in Europe/Berlin show this time twice)"),
        (units.convert_unit, "(3, 'miles', 'km')", "4.828032"),
        (units.convert_unit, "('1/3', 'foot', 'inch')", "4"),
        (units.convert_unit, "(100, '°C', 'F')", "212"),
        (units.convert_unit, "(-40, 'fahrenheit', 'celsius')", "-40"),
        (units.convert_unit, "(300, 'kelvin', 'degC')", "26.85"),
        (units.convert_unit, "(60, 'km/h', 'm/s')", "16.6666666666667"),
        (units.convert_unit, "(1, 'kg*m/s^2', 'newton')", "1"),
        (units.convert_unit, "(1, 'miles per hour', 'kph')", "1.609344"),
        (units.convert_unit, "(180, 'degree', 'radian')", "3.14159265358979"),
        (units.convert_unit, "(1, 'GiB', 'MB')", "1073.741824"),
        (units.convert_unit, "(2.5, 'hours', 'minutes')", "150"),
        (units.convert_unit, "(123456789012, 'km', 'mm')", "123456789012000000"),
        (units.convert_unit, "(1, 'Stone', 'pounds')", "14"),
        (units.convert_unit, "(1234567890.123456789, 'km', 'µm')", "1234567890123456789"),
    ],
)  # fmt: skip
def test_it_knows(tool: FunctionTool, call: str, expected: str) -> None:
    assert _call(tool, call) == expected


@pytest.mark.parametrize(
    ("tool", "call", "reason"),
    [
        (dates.weekday, "('2023-02-29')", "day: "),
        (dates.weekday, "(20240101, 3)", "day: "),
        (dates.days_between, "(0, 1)", "write it in quotes"),
        (dates.add_to_date, "('2024-01-01', years=9000)", "years 1 to 9999"),
        (dates.add_to_date, "('2024-01-01', days=10000000)", "years 1 to 9999"),
        (dates.add_to_date, "('2024-01-01', months=-9999999)", "years 1 to 9999"),
        (dates.add_to_date, "('2024-01-01', days=1e30)", "days: "),
        (dates.convert_time, "('0001-01-01T00:00', 'Asia/Tokyo', 'UTC')", "years 1 to 9999"),
        (dates.convert_time, "('9999-12-31T23:00', 'America/New_York', 'Asia/Tokyo')", "years 1 to 9999"),
        (dates.convert_time, "('2026-03-29T02:30', 'Europe/Berlin', 'UTC')", "clocks in Europe/Berlin skip it"),
        (dates.convert_time, "('2026-03-29T02:30Z', 'Europe/Berlin', 'UTC')", "without an offset"),
        (dates.convert_time, "('2026-03-01', 'Europe/Pariss', 'UTC')", "did you mean Europe/Paris?"),
        (dates.convert_time, "('2026-03-01', '../../../etc/passwd', 'UTC')", "expected a time zone"),
        (dates.current_time, "('/etc/passwd')", "expected a time zone"),
        (units.convert_unit, "(1, 'kilomiter', 'm')", "did you mean kilometer?"),
        (units.convert_unit, "(1, 'meter', 'second')", "units that measure the same"),
        (units.convert_unit, "('nan', 'm', 'km')", "expected a number"),
        (units.convert_unit, "('9**9**9', 'm', 'km')", "expected a number"),
        (units.convert_unit, "(1, 'm**9**9**9', 'm')", "expected a unit such as"),
        (units.convert_unit, "(1, 'm^99999', 'm')", "expected a unit such as"),
        (units.convert_unit, "(1, '__class__', 'm')", "expected a unit"),
        (units.convert_unit, "(1, \"__import__('os')\", 'm')", "expected a unit such as"),
        (units.convert_unit, "(1, '((((((m', 'm')", "expected a unit such as"),
        (units.convert_unit, "(1, 'm/0', 'm')", "expected a unit such as"),
        (units.convert_unit, "(1, '', 'm')", "expected a unit such as"),
    ],
)
def test_it_refuses_with_a_reason(tool: FunctionTool, call: str, reason: str) -> None:
    with pytest.raises((ToolFailed, ToolArgumentsError)) as refused:
        _call(tool, call)
    assert reason in str(refused.value)


def test_now_is_now() -> None:
    from datetime import UTC, datetime, timedelta

    said = _call(dates.current_time, "('Asia/Tokyo')")
    moment, _, day = said.rpartition(" ")
    found = datetime.fromisoformat(moment)
    assert abs(found - datetime.now(UTC)) < timedelta(minutes=2)
    assert found.utcoffset() == timedelta(hours=9)
    assert found.strftime("%A") == day


WORDS = st.text("mskgdegCF°^*/ -0129._()'", max_size=20) | st.text(max_size=20)


@given(st.integers() | st.floats() | WORDS, WORDS, WORDS)
@settings(deadline=None, max_examples=200)
def test_whatever_the_units_nothing_but_a_tool_error_comes_out(value: Any, source: str, target: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(ToolError):
        assert isinstance(units.convert_unit(value, source, target), str)
    assert time.process_time() - begun < 10  # the first one reads pint's definitions


@given(st.datetimes(), st.sampled_from(["Europe/Berlin", "Asia/Tokyo", "Pacific/Apia", "America/St_Johns", "UTC"]))
@settings(deadline=None, max_examples=100)
def test_a_time_that_is_converted_is_the_same_moment(moment: Any, zone: str) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    try:
        found = dates.convert_time(moment.replace(microsecond=0), zone, "UTC")
    except ToolFailed:
        return
    if " or " not in found:
        assert datetime.fromisoformat(found) == moment.replace(microsecond=0, tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize("unit", ["a" * 59 + "!", "a b " * 14 + "!", "a2" * 29 + "!"])
def test_names_that_run_on_are_refused_at_once(unit: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ToolFailed):
        units.convert_unit(1, unit, "m")
    assert time.perf_counter() - started < 15  # tried in every way they would take years
