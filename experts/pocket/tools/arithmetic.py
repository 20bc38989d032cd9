"""Arithmetic that a small model cannot do by itself: numbers of up to 12 digits, division, percentages, powers.

Results are worked out here with fractions, apart from the tools themselves, so that the two check each other.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from math import comb, gcd, lcm, perm
from random import Random

from experts.pocket.domains.base import Domain, Task
from experts.pocket.tools.problem import Call, ToolProblem, arguments, text, tool_problem

LONGEST = 12  # digits
_FULL, _DECIMALS, _SIGNIFICANT = 50, 12, 15  # how the tools round: see `decimal_text` and `rounded_text`
_PRECISE = Context(prec=60)


def decimal_text(number: Fraction) -> str:
    """In full if that takes at most 50 digits, else with 12 decimals; below 1, with 12 significant digits."""
    if number.denominator == 1:
        return str(number.numerator)
    full = _divided(number, _FULL)
    if Fraction(full) != number:
        whole = len(str(abs(int(number)))) if abs(number) >= 1 else 0
        full = _divided(number, whole + _DECIMALS)
    return _plain(full)


def _divided(number: Fraction, digits: int) -> Decimal:
    return Context(prec=digits).divide(Decimal(number.numerator), Decimal(number.denominator))


def _plain(number: Decimal) -> str:
    written = f"{number:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def rounded_text(number: Fraction | Decimal) -> str:
    """In full if it is whole, else to 15 significant digits."""
    exact = Fraction(number)
    return str(exact.numerator) if exact.denominator == 1 else _plain(_divided(exact, _SIGNIFICANT))


def whole(rng: Random, longest: int = LONGEST) -> int:
    """A positive whole number; every count of digits is as likely as any other."""
    digits = rng.randint(1, longest)
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _number(rng: Random) -> str:
    """Mostly whole, at times with one to three decimals."""
    number = str(whole(rng))
    if len(number) < LONGEST - 3 and rng.random() < 0.15:
        return f"{number}.{rng.randint(1, 999):03}"[: len(number) + rng.randint(2, 4)]
    return number


def _typed(number: str, rng: Random) -> str:
    """As a person types it: long numbers at times with commas between the thousands."""
    head, point, tail = number.partition(".")
    grouped = len(head) > 4 and rng.random() < 0.12
    return (f"{int(head):,}" if grouped else head) + point + tail


def _binary(tool: str, work: Callable[[Fraction, Fraction], Fraction], draw: Callable[[Random], str] = _number):  # type: ignore[no-untyped-def]
    def sample(rng: Random) -> ToolProblem:
        a, b = draw(rng), draw(rng)
        result = decimal_text(work(Fraction(a), Fraction(b)))
        return tool_problem({"a": _typed(a, rng), "b": _typed(b, rng)}, Call(tool, arguments(a, b), result))

    return sample


def _whole_text(rng: Random) -> str:
    return str(whole(rng))


def sample_divide(rng: Random) -> ToolProblem:
    """A quotient; at times one that comes out even."""
    a, b = _number(rng), _number(rng)
    if rng.random() < 0.3:
        b = str(whole(rng, 5))
        a = str(int(b) * whole(rng, 6))
    return tool_problem(
        {"a": _typed(a, rng), "b": _typed(b, rng)},
        Call("divide", arguments(a, b), decimal_text(Fraction(a) / Fraction(b))),
    )


def sample_power(rng: Random) -> ToolProblem:
    """A power of at most 50 digits or so."""
    a, b = whole(rng, rng.choice((1, 2, 3, 5))), rng.randint(2, 30)
    while a**b >= 10**_FULL:
        b -= 1
    return tool_problem({"a": _typed(str(a), rng), "b": str(b)}, Call("power", arguments(a, b), str(a**b)))


def _unary(tool: str, work: Callable[[Decimal], Decimal]) -> Callable[[Random], ToolProblem]:
    def sample(rng: Random) -> ToolProblem:
        a = str(10 ** rng.randint(1, 11)) if tool == "log" and rng.random() < 0.1 else _number(rng)
        if tool == "sqrt" and rng.random() < 0.4:
            a = str(whole(rng, 6) ** 2)
        return tool_problem({"a": _typed(a, rng)}, Call(tool, arguments(a), rounded_text(work(Decimal(a)))))

    return sample


def _counting(tool: str, work: Callable[[int, int], int]) -> Callable[[Random], ToolProblem]:
    def sample(rng: Random) -> ToolProblem:
        n = rng.randint(3, rng.choice((12, 40, 90)))
        k = rng.randint(2, min(n, 12))
        return tool_problem({"n": str(n), "k": str(k)}, Call(tool, arguments(n, k), str(work(n, k))))

    return sample


def _common(tool: str, work: Callable[[int, int], int]) -> Callable[[Random], ToolProblem]:
    def sample(rng: Random) -> ToolProblem:
        shared = whole(rng, 4) if rng.random() < 0.7 else 1
        a, b = shared * whole(rng, 6), shared * whole(rng, 6)
        return tool_problem(
            {"a": _typed(str(a), rng), "b": _typed(str(b), rng)}, Call(tool, arguments(a, b), str(work(a, b)))
        )

    return sample


def sample_percent(rng: Random) -> ToolProblem:
    """A percentage of a number; the calculator reads ``15% of 80`` as it is."""
    p, n = str(rng.randint(1, 250)), _number(rng)
    if rng.random() < 0.3:
        p += f".{rng.randint(1, 9)}"
    result = decimal_text(Fraction(p) * Fraction(n) / 100)
    return tool_problem({"p": p, "n": _typed(n, rng)}, Call("calculator", arguments(text(f"{p}% of {n}")), result))


def sample_expression(rng: Random) -> ToolProblem:
    """Three or four numbers with signs and brackets between them, copied as typed."""
    value, written = _sum_in_brackets(rng)
    for _ in range(rng.randint(1, 2)):
        other, sign = whole(rng, rng.choice((2, 4, 8))), rng.choice("+-*")
        value = {"+": value + other, "-": value - other, "*": value * other}[sign]
        space = rng.choice(("", " "))
        written = f"({written}){space}{sign}{space}{other}" if sign == "*" and written[-1] != ")" else (
            f"{written}{space}{sign}{space}{other}"
        )  # fmt: skip
    return tool_problem({"e": written}, Call("calculator", arguments(text(written)), str(value)))


def _sum_in_brackets(rng: Random) -> tuple[int, str]:
    a, b, sign = whole(rng, rng.choice((2, 4, 8))), whole(rng, rng.choice((2, 4, 8))), rng.choice("+-*")
    return {"+": a + b, "-": a - b, "*": a * b}[sign], f"({a}{sign}{b})"


def sample_two_sums(rng: Random) -> ToolProblem:
    """Two sums in one question: two calls in one answer."""
    a, b, c, d = (whole(rng, rng.choice((3, 6, 9))) for _ in range(4))
    slots = {"a": str(a), "b": str(b), "c": str(c), "d": str(d)}
    return tool_problem(
        slots, Call("add", arguments(a, b), str(a + b)), " and ", Call("add", arguments(c, d), str(c + d))
    )


DOMAIN = Domain(
    name="tool_arithmetic",
    description="calculates with numbers of any length: sums, products, quotients, percentages, powers, roots",
    tasks=(
        Task("add", _binary("add", Fraction.__add__)),
        Task("subtract", _binary("subtract", Fraction.__sub__)),
        Task("multiply", _binary("multiply", Fraction.__mul__)),
        Task("divide", sample_divide),
        Task("power", sample_power),
        Task("remainder", _binary("remainder", Fraction.__mod__, _whole_text)),
        Task("sqrt", _unary("sqrt", lambda a: a.sqrt(_PRECISE))),
        Task("log", _unary("log", lambda a: a.log10(_PRECISE))),
        Task("ln", _unary("ln", lambda a: a.ln(_PRECISE))),
        Task("choose", _counting("choose", comb)),
        Task("permutate", _counting("permutate", perm)),
        Task("gcd", _common("gcd", gcd)),
        Task("lcm", _common("lcm", lcm)),
        Task("percent", sample_percent),
        Task("expression", sample_expression),
        Task("two_sums", sample_two_sums),
    ),
    weights={"log": 0.6, "ln": 0.6, "choose": 0.6, "permutate": 0.6, "gcd": 0.6, "lcm": 0.6},
)
