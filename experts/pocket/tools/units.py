"""Conversions between units of measure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from random import Random

from experts.pocket.domains.base import Domain, Task
from experts.pocket.tools.arithmetic import rounded_text, whole
from experts.pocket.tools.problem import Call, ToolProblem, arguments, text, tool_problem


@dataclass(frozen=True)
class Unit:
    """A unit: the symbol that tools know, its size in the base unit of its measure, and how people write it.

    Attributes:
        zero: what the base unit shows where this one shows 0.
    """

    symbol: str
    size: Fraction
    names: tuple[str, ...]
    zero: Fraction = Fraction(0)


def _unit(symbol: str, size: str, names: str, zero: str = "0") -> Unit:
    return Unit(symbol, Fraction(size), tuple(names.split(", ")), Fraction(zero))


MEASURES: tuple[tuple[Unit, ...], ...] = (
    (
        _unit("m", "1", "meters, metres, meter, m"),
        _unit("km", "1000", "kilometers, kilometres, km, kms, kilometer"),
        _unit("cm", "0.01", "centimeters, centimetres, cm, centimeter"),
        _unit("mm", "0.001", "millimeters, millimetres, mm"),
        _unit("mi", "1609.344", "miles, mile, mi"),
        _unit("ft", "0.3048", "feet, foot, ft"),
        _unit("in", "0.0254", "inches, inch"),
        _unit("yd", "0.9144", "yards, yard, yd"),
    ),
    (
        _unit("kg", "1", "kilograms, kilos, kg, kilogram"),
        _unit("g", "0.001", "grams, gram, g, grammes"),
        _unit("mg", "0.000001", "milligrams, mg"),
        _unit("t", "1000", "tonnes, metric tons, metric tonnes"),
        _unit("lb", "0.45359237", "pounds, lbs, lb, pound"),
        _unit("oz", "0.028349523125", "ounces, oz, ounce"),
    ),
    (
        _unit("s", "1", "seconds, secs, sec, second"),
        _unit("min", "60", "minutes, mins, min, minute"),
        _unit("h", "3600", "hours, hrs, hour, h"),
        _unit("day", "86400", "days, day"),
        _unit("week", "604800", "weeks, week"),
    ),
    (
        _unit("l", "1", "liters, litres, liter, l"),
        _unit("ml", "0.001", "milliliters, millilitres, ml"),
        _unit("gal", "3.785411784", "gallons, gal, us gallons, gallon"),
        _unit("cup", "0.2365882365", "cups, cup"),
    ),
    (
        _unit("km/h", "5/18", "km/h, kilometers per hour, kph, kilometres per hour"),
        _unit("mph", "0.44704", "mph, miles per hour, mi/h"),
        _unit("m/s", "1", "m/s, meters per second, metres per second"),
    ),
    (
        _unit("degC", "1", "celsius, degrees celsius, degree celsius, c", "273.15"),
        _unit("degF", "5/9", "fahrenheit, degrees fahrenheit, degree fahrenheit, f", "45967/180"),
        _unit("K", "1", "kelvin, kelvins, degrees kelvin"),
    ),
    (
        _unit("B", "1", "bytes, byte"),
        _unit("kB", "1000", "kilobytes, kb, kilobyte"),
        _unit("MB", "1000000", "megabytes, mb, megabyte"),
        _unit("GB", "1000000000", "gigabytes, gb, gigabyte"),
    ),
)


def converted(value: Fraction, source: Unit, target: Unit) -> Fraction:
    """The same quantity in another unit of its measure."""
    return (value * source.size + source.zero - target.zero) / target.size


def sample_convert(rng: Random) -> ToolProblem:
    """A value and two units of one measure."""
    source, target = rng.sample(rng.choice(MEASURES), 2)
    value = str(whole(rng, rng.choice((2, 4, 6, 9))))
    if rng.random() < 0.3:
        value += f".{rng.randint(1, 99)}"
        value = value.rstrip("0")
    result = rounded_text(converted(Fraction(value), source, target))
    short = min(source.names, key=len)
    slots = {"v": value, "from": rng.choice(source.names), "to": rng.choice(target.names), "short": short}
    call = Call("convert_unit", arguments(value, text(source.symbol), text(target.symbol)), result)
    return tool_problem(slots, call, f" {target.symbol}")


DOMAIN = Domain(
    name="tool_units",
    description="converts between units of measure: lengths, masses, times, volumes, speeds, temperatures, data",
    tasks=(Task("convert", sample_convert),),
)
