"""An exact calculator: fractions all the way, no ``eval``.

Own code, since none of the libraries is exact and safe at once: sympy and numexpr evaluate Python, simpleeval reads
0.1 as a binary float and knows neither ``15%`` nor that ``^`` is a power.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

from router.spec.wording import did_you_mean, quoted
from router.tools.builtins import arithmetic
from router.tools.builtins.numbers import Approximate, as_text
from router.tools.errors import ToolFailed
from router.tools.function import tool

_MAX_CHARACTERS: Final = 1_000
_MAX_DEPTH: Final = 50

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)|(?P<name>[a-z_]+)|(?P<mark>\*\*|//|\S))", re.I
)
_SAME = {"**": "^", "×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "of": "*", "mod": "mod", "π": "pi"}
_BINARY: dict[str, tuple[int, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": (1, Fraction.__add__), "-": (1, Fraction.__sub__), "*": (2, Fraction.__mul__), "/": (2, arithmetic.divide),
    "//": (2, arithmetic.floor_divide), "mod": (2, arithmetic.remainder), "^": (4, arithmetic.power),
}  # fmt: skip
_SIGN = 3
_CONSTANTS = {
    "pi": Approximate("3.14159265358979323846264338327950288419716939937511"),
    "e": Approximate("2.71828182845904523536028747135266249775724709369996"),
}
_ONE_OR_MORE = range(1, 100)
_FUNCTIONS: dict[str, tuple[Callable[..., Any], range]] = {
    "abs": (abs, range(1, 2)), "floor": (lambda x: Fraction(x.__floor__()), range(1, 2)),
    "ceil": (lambda x: Fraction(x.__ceil__()), range(1, 2)), "round": (arithmetic.round_to, range(1, 3)),
    "sqrt": (arithmetic.square_root, range(1, 2)), "exp": (arithmetic.exponential, range(1, 2)),
    "ln": (arithmetic.natural_logarithm, range(1, 2)), "log": (arithmetic.logarithm, range(1, 3)),
    "factorial": (arithmetic.factorial, range(1, 2)), "choose": (arithmetic.choose, range(2, 3)),
    "permute": (arithmetic.permute, range(1, 3)), "gcd": (arithmetic.greatest_common_divisor, _ONE_OR_MORE),
    "lcm": (arithmetic.least_common_multiple, _ONE_OR_MORE), "min": (min, _ONE_OR_MORE), "max": (max, _ONE_OR_MORE),
    "remainder": (arithmetic.remainder, range(2, 3)), "power": (arithmetic.power, range(2, 3)),
}  # fmt: skip


@tool(seconds=5)
def calculator(expression: str) -> str:
    """Calculates an expression exactly: + - * / // mod ^, percent, factorial (5!), sqrt, ln, log, round, gcd, choose.

    ``15% of 80``, ``2^10``, ``(1 + 2) * 3 / 7``, ``log(8, 2)``.

    Raises:
        ToolFailed: it is no expression, or has no result that can be written down.
    """
    if len(expression) > _MAX_CHARACTERS:
        raise ToolFailed(f"expected at most {_MAX_CHARACTERS} characters, found {len(expression)}")
    calculation = _Calculation(expression)
    return as_text(calculation.result(), exact=calculation.exact)


class _Calculation:
    """Reads and calculates at once, by precedence climbing.

    Attributes:
        exact: nothing has been rounded so far.
    """

    def __init__(self, expression: str) -> None:
        self.exact = True
        self._tokens = list(_tokens(expression.rstrip().rstrip("=")))
        self._depth = 0

    def result(self) -> Fraction:
        found = self._expression(0)
        if self._tokens:
            raise self._unexpected("an operator or the end")
        return found

    def _expression(self, least: int) -> Fraction:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ToolFailed(f"expected at most {_MAX_DEPTH} brackets and signs within each other, found more")
        left = self._signed()
        while (operator := self._operator()) in _BINARY:
            binding, work = _BINARY[operator]
            if binding < least:
                break
            self._tokens.pop(0)
            right = self._expression(binding if operator == "^" else binding + 1)
            left = self._kept(work(left, right))
        self._depth -= 1
        return left

    def _signed(self) -> Fraction:
        if self._peek() in ("-", "+"):
            negative = self._tokens.pop(0) == "-"
            found = self._expression(_SIGN)
            return -found if negative else found
        found = self._atom()
        while self._operator() in ("!", "%"):
            found = arithmetic.factorial(found) if self._tokens.pop(0) == "!" else found / 100
        return found

    def _operator(self) -> str:
        """The operator that comes next: ``%`` is a percent sign unless what follows can only be a divisor."""
        mark = self._peek()
        following = self._tokens[1] if len(self._tokens) > 1 else ""
        if mark == "%" and (following[:1].isalnum() or following in ("(", ".")) and following not in ("*", "mod"):
            return "mod"
        return mark

    def _atom(self) -> Fraction:
        token = self._peek()
        if token[:1].isdecimal() or (token[:1] == "." and len(token) > 1):
            return _number(self._tokens.pop(0))
        if token == "(":  # noqa: S105 - a bracket
            return self._list(1)[0]
        if token in _CONSTANTS:
            return self._kept(_CONSTANTS[self._tokens.pop(0)])
        if token in _FUNCTIONS:
            self._tokens.pop(0)
            function, counts = _FUNCTIONS[token]
            return self._kept(function(*self._list(*counts)))
        if token[:1].isalpha():
            fix = did_you_mean(token, _FUNCTIONS, f"there are {', '.join(_FUNCTIONS)}")
            raise ToolFailed(f"expected a function, found {quoted(token)}; {fix}")
        raise self._unexpected("a number")

    def _list(self, *counts: int) -> list[Fraction]:
        """``(1, 2)``, of that many numbers."""
        self._take("(")
        found = [self._expression(0)]
        while self._peek() == ",":
            self._tokens.pop(0)
            found.append(self._expression(0))
        self._take(")")
        if len(found) not in counts:
            wanted = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            raise ToolFailed(f"expected {wanted} numbers in brackets, found {len(found)}")
        return found

    def _kept(self, number: Fraction) -> Fraction:
        self.exact &= not isinstance(number, Approximate)
        return arithmetic.checked(number)

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _take(self, mark: str) -> None:
        if self._peek() != mark:
            raise self._unexpected(repr(mark))
        self._tokens.pop(0)

    def _unexpected(self, expected: str) -> ToolFailed:
        return ToolFailed(f"expected {expected}, found {quoted(self._peek()) if self._tokens else 'the end'}")


def _tokens(expression: str) -> Iterator[str]:
    for match in _TOKEN.finditer(expression):
        token = match[match.lastgroup or 0].casefold()
        yield _SAME.get(token, token)


def _number(text: str) -> Fraction:
    exponent = text.partition("e")[2]
    if len(exponent) > 5 or abs(int(exponent or 0)) * 3.4 > arithmetic.MAX_BITS:
        raise ToolFailed(f"expected an exponent of at most 4 digits, found {quoted(text)}")
    return arithmetic.checked(Fraction(text))
