"""What the calculator can do with numbers: exact while the result is a fraction, to 50 digits otherwise.

Every function says no before it starts if its result would be too long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException
from fractions import Fraction

from router.tools.builtins.numbers import Approximate, as_text
from router.tools.errors import ToolFailed

MAX_BITS = 13_000  # 3,900 digits; Python writes integers of up to 4,300
_PRECISE = Context(prec=50, Emax=4_000, Emin=-4_000)


def checked(number: Fraction) -> Fraction:
    """The number, if it is not too long.

    Raises:
        ToolFailed: it is.
    """
    _fits(_bits(number))
    return number


def _bits(number: Fraction) -> int:
    """Its length: the longer of numerator and denominator."""
    return max(number.numerator.bit_length(), number.denominator.bit_length())


def divide(left: Fraction, right: Fraction) -> Fraction:
    """Left by right."""
    return left / _not_zero(right)


def floor_divide(left: Fraction, right: Fraction) -> Fraction:
    """The quotient without its fraction, rounded down."""
    return Fraction(left // _not_zero(right))


def remainder(left: Fraction, right: Fraction) -> Fraction:
    """What is left of a division; it has the sign of the divisor."""
    return left % _not_zero(right)


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """Base to the exponent."""
    if base == 0 and exponent < 0:
        raise ToolFailed("expected a base other than 0 for a negative exponent, found 0")
    if abs(base) == 1 and exponent.denominator == 1:
        return base if exponent % 2 else Fraction(1)
    if exponent.denominator == 1:
        length = (_bits(base) - 1) * abs(exponent.numerator) if base else 0
        if length > MAX_BITS and base > 0 and base.denominator > 1:  # interest, say: a short result of many digits
            return _decimal(lambda: _PRECISE.power(_as_decimal(base), _as_decimal(exponent)))
        _fits(length)
        return Fraction(base**exponent.numerator)
    if base < 0:
        shown = as_text(exponent)[:40]
        raise ToolFailed(f"expected a base of at least 0 for the exponent {shown}, found a negative one")
    root = square_root(base)
    if exponent.denominator == 2 and not isinstance(root, Approximate):
        return power(root, Fraction(exponent.numerator))
    return _decimal(lambda: _PRECISE.power(_as_decimal(base), _as_decimal(exponent)))


def square_root(number: Fraction) -> Fraction:
    """The positive square root."""
    if number < 0:
        raise ToolFailed("expected a number of at least 0 for a square root, found a negative one")
    above, below = math.isqrt(number.numerator), math.isqrt(number.denominator)
    if above * above == number.numerator and below * below == number.denominator:
        return Fraction(above, below)
    return _decimal(lambda: _PRECISE.sqrt(_as_decimal(number)))


def natural_logarithm(number: Fraction) -> Fraction:
    """To the base e."""
    return _decimal(lambda: _PRECISE.ln(_as_decimal(_positive(number))))


def logarithm(number: Fraction, base: Fraction = Fraction(10)) -> Fraction:
    """To the base 10, or another one."""
    if _positive(base) == 1:
        raise ToolFailed("expected a base other than 1 for a logarithm, found 1")
    above, below = _as_decimal(_positive(number)), _as_decimal(base)
    found = _decimal(lambda: _PRECISE.divide(_PRECISE.ln(above), _PRECISE.ln(below)))
    whole = Fraction(round(found))
    return whole if abs(whole) * _bits(base) <= MAX_BITS and power(base, whole) == number else found


def exponential(number: Fraction) -> Fraction:
    """E to the number."""
    return _decimal(lambda: _PRECISE.exp(_as_decimal(number)))


def factorial(number: Fraction) -> Fraction:
    """1 * 2 * ... * number."""
    count = _count(number)
    _fits(int(math.lgamma(min(count, MAX_BITS) + 1) / math.log(2)))
    return Fraction(math.factorial(count))


def choose(total: Fraction, chosen: Fraction) -> Fraction:
    """In how many ways that many of a total can be chosen, in any order."""
    of, some = _count(total), _count(chosen)
    _fits(min(some, max(of - some, 0)) * of.bit_length() // 2)
    return Fraction(math.comb(of, some))


def permute(total: Fraction, chosen: Fraction | None = None) -> Fraction:
    """In how many orders that many of a total (by default all) can be chosen."""
    of = _count(total)
    some = of if chosen is None else _count(chosen)
    _fits(min(some, of) * of.bit_length() // 2)
    return Fraction(math.perm(of, some))


def greatest_common_divisor(*numbers: Fraction) -> Fraction:
    """The greatest whole number that divides all."""
    return Fraction(math.gcd(*map(_whole, numbers)))


def least_common_multiple(*numbers: Fraction) -> Fraction:
    """The least whole number that all divide."""
    _fits(sum(map(_bits, numbers)))
    return Fraction(math.lcm(*map(_whole, numbers)))


def round_to(number: Fraction, digits: Fraction = Fraction(0)) -> Fraction:
    """To the nearest number with that many decimals; halves away from zero, as in school."""
    places = _whole(digits)
    if abs(places) > 1_000:
        raise ToolFailed(f"expected at most 1000 decimals, found {places}")
    scale = Fraction(10) ** places
    return Fraction(math.floor(abs(number) * scale + Fraction(1, 2)), 1) / scale * (1 if number >= 0 else -1)


def _decimal(work: Callable[[], Decimal]) -> Fraction:
    try:
        return Approximate(work())
    except DecimalException as problem:
        raise ToolFailed(f"expected a result that can be written down, found {type(problem).__name__}") from problem


def _as_decimal(number: Fraction) -> Decimal:
    return _PRECISE.divide(Decimal(number.numerator), Decimal(number.denominator))


def _fits(length: int) -> None:
    if length > MAX_BITS:
        raise ToolFailed(f"expected numbers of at most {int(MAX_BITS * math.log10(2))} digits, found a longer one")


def _not_zero(number: Fraction) -> Fraction:
    if not number:
        raise ToolFailed("expected a divisor other than 0, found 0")
    return number


def _positive(number: Fraction) -> Fraction:
    if number <= 0:
        raise ToolFailed("expected a number above 0 for a logarithm, found none")
    return number


def _whole(number: Fraction) -> int:
    if number.denominator != 1:
        raise ToolFailed(f"expected a whole number, found {as_text(number)[:40]}")
    return number.numerator


def _count(number: Fraction) -> int:
    if _whole(number) < 0:
        raise ToolFailed(f"expected a whole number of at least 0, found {as_text(number)[:40]}")
    return number.numerator
