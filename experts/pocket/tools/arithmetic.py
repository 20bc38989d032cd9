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
_ROUND = 0.2  # of the numbers


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
    """A positive whole number; every count of digits is as likely as any other. At times a round one, as people name."""
    digits = rng.randint(1, longest)
    number = rng.randint(10 ** (digits - 1), 10**digits - 1)
    if digits > 1 and rng.random() < _ROUND:
        zeros = 10 ** rng.randint(1, digits - 1)
        number -= number % zeros
    return number


def _number(rng: Random) -> str:
    """Mostly whole, at times with one to three decimals, or below one."""
    number = str(whole(rng))
    if len(number) < LONGEST - 3 and rng.random() < 0.15:
        return f"{number}.{rng.randint(1, 999):03}"[: len(number) + rng.randint(2, 4)]
    return f"0.{rng.randint(1, 999):03}".rstrip("0") if rng.random() < 0.05 else number


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
    """A power of at most 50 digits or so; at times of a number with decimals."""
    base, b = str(whole(rng, rng.choice((1, 2, 3, 5)))), rng.randint(2, 30)
    if rng.random() < 0.1:
        base = f"{rng.randint(0, 99)}.{rng.randint(1, 99)}"
    while len(base) * b > _FULL and b > 2:
        b -= 1
    result = decimal_text(Fraction(base) ** b)
    return tool_problem({"a": _typed(base, rng), "b": str(b)}, Call("power", arguments(base, b), result))


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
    while True:
        space = rng.choice((" ", " ", ""))
        try:
            value, written, _ = _expression(rng, rng.choice((3, 3, 4)), space, space if rng.random() < 0.7 else "")
        except ZeroDivisionError:
            continue
        return tool_problem({"e": written}, Call("calculator", arguments(text(written)), decimal_text(value)))


_OPERATIONS: dict[str, tuple[int, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": (1, Fraction.__add__), "-": (1, Fraction.__sub__), "*": (2, Fraction.__mul__), "/": (2, Fraction.__truediv__),
}  # fmt: skip


def _expression(rng: Random, numbers: int, space: str, inner: str) -> tuple[Fraction, str, int]:
    """The value, the text, and how tight its last operation binds.

    Args:
        space: around the signs.
        inner: around the signs within.
    """
    if numbers == 1:
        number = str(whole(rng, rng.choice((1, 2, 3, 4, 8))))
        number += f".{rng.randint(1, 99)}" if rng.random() < 0.05 else ""
        return Fraction(number), number, 3
    first = rng.randint(1, numbers - 1)
    left, right = (_expression(rng, part, inner, inner) for part in (first, numbers - first))
    sign = rng.choice("+-*+-*/")
    binds, work = _OPERATIONS[sign]
    a, b = _bracketed(left, binds, rng), _bracketed(right, binds + 1, rng)
    return work(left[0], right[0]), f"{a}{space}{sign}{space}{b}", binds


def _bracketed(part: tuple[Fraction, str, int], least: int, rng: Random) -> str:
    """A part of an expression with brackets, if it binds less than that; now and then also if they change nothing."""
    _, written, binds = part
    return f"({written})" if binds < least or (binds < 3 and rng.random() < 0.4) else written


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
    weights={
        "log": 0.6,
        "ln": 0.6,
        "choose": 0.7,
        "permutate": 0.7,
        "gcd": 0.6,
        "lcm": 0.6,
        "subtract": 1.3,
        "multiply": 1.2,
        "divide": 1.3,
        "expression": 1.4,
    },
)
