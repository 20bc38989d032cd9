"""Numbers as people write them."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

_LONGEST = 50  # a fraction with no more digits than this is written in full
_DECIMALS = 12
_SIGNIFICANT = 15


class Approximate(Fraction):
    """A number that is known to 50 digits only."""

    __slots__ = ()


def as_text(number: Fraction, *, exact: bool = True) -> str:
    """A number in decimal notation.

    An exact one is written in full if it ends within 50 digits, otherwise rounded to 12 decimals (below 1, to 12
    significant digits); one that is not exact is rounded to 15 significant digits.
    """
    if not exact:
        return _written(_rounded(number, _SIGNIFICANT))
    if number.denominator == 1:
        return str(number.numerator)
    full = _rounded(number, _LONGEST)
    whole_digits = len(str(abs(int(number)))) if abs(number) >= 1 else 0
    return _written(full if Fraction(full) == number else _rounded(number, whole_digits + _DECIMALS))


def _rounded(number: Fraction, digits: int) -> Decimal:
    return Context(prec=digits).divide(Decimal(number.numerator), Decimal(number.denominator))


def _written(number: Decimal) -> str:
    few_zeros = number.adjusted() > -_DECIMALS or len(f"{number:f}") <= _LONGEST
    if few_zeros and (number.adjusted() < _LONGEST or number != number.to_integral()):
        plain = f"{number:f}"
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return f"{number.normalize():e}"
