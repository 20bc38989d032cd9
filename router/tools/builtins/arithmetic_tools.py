"""One tool for each operation of arithmetic, for models that name the operation by its own token."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from router.tools.builtins import arithmetic
from router.tools.builtins.numbers import Approximate, as_text
from router.tools.function import tool

Number = Annotated[Decimal, Field(allow_inf_nan=False, max_digits=1_000)]
Numbers = Annotated[tuple[Number, ...], Field(min_length=1, max_length=100)]


@tool
def add(a: Number, b: Number) -> str:
    """Adds two numbers."""
    return _text(_exact(a) + _exact(b))


@tool
def subtract(a: Number, b: Number) -> str:
    """Subtracts the second number from the first."""
    return _text(_exact(a) - _exact(b))


@tool
def multiply(a: Number, b: Number) -> str:
    """Multiplies two numbers."""
    return _text(_exact(a) * _exact(b))


@tool
def divide(a: Number, b: Number) -> str:
    """Divides the first number by the second."""
    return _text(arithmetic.divide(_exact(a), _exact(b)))


@tool
def remainder(a: Number, b: Number) -> str:
    """Gives the remainder of dividing the first number by the second (mod)."""
    return _text(arithmetic.remainder(_exact(a), _exact(b)))


@tool
def power(a: Number, b: Number) -> str:
    """Raises the first number to the power of the second."""
    return _text(arithmetic.power(_exact(a), _exact(b)))


@tool
def sqrt(a: Number) -> str:
    """Takes the square root of a number."""
    return _text(arithmetic.square_root(_exact(a)))


@tool
def log(a: Number, base: Number = Decimal(10)) -> str:
    """Takes the logarithm of a number to the base 10, or another base."""
    return _text(arithmetic.logarithm(_exact(a), _exact(base)))


@tool
def ln(a: Number) -> str:
    """Takes the natural logarithm of a number."""
    return _text(arithmetic.natural_logarithm(_exact(a)))


@tool
def choose(n: Number, k: Number) -> str:
    """Counts the ways to choose k things out of n when their order does not matter (combinations)."""
    return _text(arithmetic.choose(_exact(n), _exact(k)))


@tool
def permutate(n: Number, k: Number) -> str:
    """Counts the ways to arrange k things out of n when their order matters (permutations)."""
    return _text(arithmetic.permute(_exact(n), _exact(k)))


@tool
def gcd(numbers: Numbers) -> str:
    """Finds the greatest common divisor of whole numbers."""
    return _text(arithmetic.greatest_common_divisor(*map(_exact, numbers)))


@tool
def lcm(numbers: Numbers) -> str:
    """Finds the least common multiple of whole numbers."""
    return _text(arithmetic.least_common_multiple(*map(_exact, numbers)))


def _exact(number: Decimal) -> Fraction:
    return arithmetic.checked(Fraction(number))


def _text(number: Fraction) -> str:
    return as_text(arithmetic.checked(number), exact=not isinstance(number, Approximate))
