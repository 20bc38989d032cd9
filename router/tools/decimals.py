"""Numbers with a decimal point in the arguments of a call: floats to most, exact to who asks for it."""

from __future__ import annotations

from math import isfinite

from router.spec.wording import quoted
from router.tools.errors import ToolArgumentsError


class WrittenFloat(float):
    """A float that keeps how it was written, as its ``str``: what pydantic makes a ``Decimal`` of has every digit."""

    _text: str

    def __new__(cls, text: str) -> WrittenFloat:
        found = super().__new__(cls, text)
        found._text = text
        return found

    def __str__(self) -> str:
        return self._text


def read_decimal(text: str) -> WrittenFloat:
    """A number that was written with a decimal point or an exponent.

    Raises:
        ToolArgumentsError: no float is as large.
    """
    found = WrittenFloat(text)
    if not isfinite(found):
        raise ToolArgumentsError(f"expected a number below 1.8e308, found {quoted(text)}")
    return found
