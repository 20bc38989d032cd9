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
    """Adds two numbers: the sum. How many are there in total, altogether or combined, when there are some of one and
    some of another?
    """
    return _text(_exact(a) + _exact(b))


@tool
def subtract(a: Number, b: Number) -> str:
    """Subtracts the second number from the first: the difference. How many are left, or still needed, after some were
    taken, sold or spent?
    """
    return _text(_exact(a) - _exact(b))


@tool
def multiply(a: Number, b: Number) -> str:
    """Multiplies two numbers: the product. How many, how much or how far is it in total, when each one has the same
    size, price or speed?
    """
    return _text(_exact(a) * _exact(b))


@tool
def divide(a: Number, b: Number) -> str:
    """Divides the first number by the second: the quotient. How much does each one get or cost when an amount is split
    equally; what is the average, or the rate per unit?
    """
    return _text(arithmetic.divide(_exact(a), _exact(b)))


@tool
def remainder(a: Number, b: Number) -> str:
    """Gives the remainder of dividing the first number by the second (mod). How many are left over when things are
    packed or shared out in full groups of the same size?
    """
    return _text(arithmetic.remainder(_exact(a), _exact(b)))


@tool
def power(a: Number, b: Number) -> str:
    """Raises the first number to the power of the second. How many times as much is there after something doubles,
    triples or grows by a percentage again and again? Squares and cubes, areas and volumes.
    """
    return _text(arithmetic.power(_exact(a), _exact(b)))


@tool
def sqrt(a: Number) -> str:
    """Takes the square root of a number. How long is the side of a square of that area; what is the standard deviation
    of that variance?
    """
    return _text(arithmetic.square_root(_exact(a)))


@tool
def log(a: Number, base: Number = Decimal(10)) -> str:
    """Takes the logarithm of a number to the base 10, or another base. To which power must 10 be raised to give it?"""
    return _text(arithmetic.logarithm(_exact(a), _exact(base)))


@tool
def ln(a: Number) -> str:
    """Takes the natural logarithm of a number. To which power must e be raised to give it?"""
    return _text(arithmetic.natural_logarithm(_exact(a)))


@tool
def choose(n: Number, k: Number) -> str:
    """Counts the ways to choose k things out of n when their order does not matter (combinations). How many different
    groups, teams or selections are possible?
    """
    return _text(arithmetic.choose(_exact(n), _exact(k)))


@tool
def permutate(n: Number, k: Number) -> str:
    """Counts the ways to arrange k things out of n when their order matters (permutations). How many different orders,
    rankings or seatings are possible?
    """
    return _text(arithmetic.permute(_exact(n), _exact(k)))


@tool
def gcd(numbers: Numbers) -> str:
    """Finds the greatest common divisor of whole numbers. What is the largest size of equal parts, or number of equal
    groups, that several amounts can be divided into with nothing left over?
    """
    return _text(arithmetic.greatest_common_divisor(*map(_exact, numbers)))


@tool
def lcm(numbers: Numbers) -> str:
    """Finds the least common multiple of whole numbers. When will events that repeat at different intervals happen
    together again; what is the smallest amount that several sizes divide evenly?
    """
    return _text(arithmetic.least_common_multiple(*map(_exact, numbers)))


def _exact(number: Decimal) -> Fraction:
    return arithmetic.checked(Fraction(number))


def _text(number: Fraction) -> str:
    return as_text(arithmetic.checked(number), exact=not isinstance(number, Approximate))
