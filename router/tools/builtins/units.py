"""Units of measure, by pint."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from router.spec.wording import did_you_mean, quoted
from router.tools.builtins.numbers import as_text
from router.tools.errors import ToolFailed
from router.tools.function import tool

if TYPE_CHECKING:
    from pint import Unit, UnitRegistry

# Possessive throughout: a name that could end anywhere would be tried in every way before it is refused.
_NAME = r"\s*+[°µ]?[^\W\d]\w*+\s*+(?:(?:\^|\*\*)\s*+-?\d\s*+)?+"
_UNIT = re.compile(rf"{_NAME}(?:[*/]?{_NAME})*")
_MAX_CHARACTERS = 60
_NUMBER = re.compile(r"[-+]?(\d{1,50}(\.\d{1,50})?|\.\d{1,50}|\d{1,50}/\d{1,50})(e[-+]?\d{1,2})?", re.IGNORECASE)
_SAID = {"°c": "degC", "°f": "degF", "celsius": "degC", "fahrenheit": "degF", "c": "degC", "f": "degF", "k": "kelvin"}


@tool(seconds=20)  # the first call reads pint's definitions
def convert_unit(value: str | Decimal, from_unit: str, to_unit: str) -> str:
    """Converts a value from one unit of measure to another: lengths, masses, times, temperatures, speeds, data, ...

    ``convert_unit(3, "miles", "km")`` gives 4.828032; units combine as in ``km/h`` or ``kg*m/s^2``.

    Raises:
        ToolFailed: a unit is not known, or the two do not measure the same.
    """
    said = str(value).strip()
    if not _NUMBER.fullmatch(said):
        raise ToolFailed(f"expected a number of at most 50 digits, found {quoted(said)}")
    source, target = _unit(from_unit), _unit(to_unit)
    if source.dimensionality != target.dimensionality:
        raise ToolFailed(f"expected units that measure the same, found {quoted(from_unit)} and {quoted(to_unit)}")
    found = Fraction(_registry().Quantity(Fraction(said), source).to(target).magnitude)
    return as_text(found, exact=found.denominator == 1)


@cache
def _registry() -> UnitRegistry[Fraction]:
    from pint import UnitRegistry

    return UnitRegistry(non_int_type=Fraction, autoconvert_offset_to_baseunit=True)


@lru_cache(1_000)
def _unit(text: str) -> Unit:
    from pint.errors import PintError

    said = text.strip()
    if len(said) > _MAX_CHARACTERS or not _UNIT.fullmatch(said):
        raise ToolFailed(f"expected a unit such as km/h or kg*m/s^2, found {quoted(said)}")
    for name in (_SAID.get(said.casefold(), said), said.casefold()):
        try:
            return _registry().Unit(name)
        except (PintError, AttributeError, ValueError):
            continue
    known = {name for name in dir(_registry()) if len(name) > 1}
    raise ToolFailed(f"expected a unit, found {quoted(said)}; {did_you_mean(said, known, 'write its English name')}")
