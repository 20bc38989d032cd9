"""Numerals: whole numbers from 1 to 3999 as digits, in words and in Roman letters, each turned into the others."""

from __future__ import annotations

from random import Random

from experts.pocket.domains.base import Domain, Problem, Task

_RANGES = ((1, 20), (1, 100), (100, 999), (1400, 2030), (1, 3999))
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"),
    (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip


def to_roman(n: int) -> str:
    """The usual subtractive Roman numeral, in capitals."""
    letters = ""
    for value, symbol in _ROMAN:
        letters += symbol * (n // value)
        n %= value
    return letters


def to_words(n: int, *, hyphen: str = "-", conjunction: str = " ", comma: str = "") -> str:
    """The number in English words.

    Args:
        n: the number, from 1 to 3999.
        hyphen: what joins tens and units.
        conjunction: what joins the hundreds (or thousands) to a rest below one hundred.
        comma: what follows the word "thousand" if hundreds come next.
    """
    if n < 20:
        return _SMALL[n]
    if n < 100:
        return _TENS[n // 10] + (hyphen + _SMALL[n % 10] if n % 10 else "")
    unit, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    head, rest = f"{_SMALL[n // unit]} {name}", n % unit
    if not rest:
        return head
    joint = conjunction if rest < 100 else comma + " "
    return head + joint + to_words(rest, hyphen=hyphen, conjunction=conjunction, comma=comma)


def _value(rng: Random) -> int:
    low, high = rng.choices(_RANGES, weights=(25, 25, 15, 15, 20))[0]
    n = rng.randint(low, high)
    return n - n % 100 if n > 100 and rng.random() < 0.06 else n  # round numbers are what people ask about


def _quoted(text: str, rng: Random) -> str:
    mark = rng.choice("\"'") if rng.random() < 0.08 else ""
    return mark + text + mark


def _digits(n: int, rng: Random) -> str:
    return f"{n:,}" if rng.random() < 0.15 else str(n)


def _roman_surface(n: int, rng: Random) -> str:
    letters = to_roman(n)
    return _quoted(letters if rng.random() < 0.6 else letters.lower(), rng)


def _words_surface(n: int, rng: Random) -> str:
    words = to_words(
        n,
        hyphen=rng.choice("- "),
        conjunction=rng.choice((" ", " and ")),
        comma="," if rng.random() < 0.2 else "",
    )
    if words.startswith(("one hundred", "one thousand")) and rng.random() < 0.12:
        words = words.replace("one", "a", 1)
    style = rng.random()
    words = words.upper() if style < 0.03 else words.capitalize() if style < 0.1 else words
    return _quoted(words, rng)


def sample_to_roman(rng: Random) -> Problem:
    """Digits, or now and then a short number word, to Roman letters."""
    n = _value(rng)
    spelled = (n <= 20 or (n <= 100 and n % 10 == 0)) and rng.random() < 0.2
    surface = to_words(n) if spelled else _digits(n, rng)
    return Problem({"n": _quoted(surface, rng)}, f"roman {n}", to_roman(n), key=f"numeral {n}")


def sample_to_words(rng: Random) -> Problem:
    """Digits to words."""
    n = _value(rng)
    return Problem({"n": _quoted(_digits(n, rng), rng)}, f"words {n}", to_words(n), key=f"numeral {n}")


def sample_from_roman(rng: Random) -> Problem:
    """Roman letters to digits."""
    n = _value(rng)
    return Problem({"n": _roman_surface(n, rng)}, f"digits {to_roman(n).lower()}", str(n), key=f"numeral {n}")


def sample_from_words(rng: Random) -> Problem:
    """Words to digits."""
    n = _value(rng)
    return Problem({"n": _words_surface(n, rng)}, f"digits {to_words(n, hyphen=' ')}", str(n), key=f"numeral {n}")


DOMAIN = Domain(
    name="numerals",
    description="Whole numbers from 1 to 3999 between digits, English words and Roman numerals.",
    tasks=(
        Task("to_roman", sample_to_roman),
        Task("to_words", sample_to_words),
        Task("from_roman", sample_from_roman),
        Task("from_words", sample_from_words),
    ),
    weights={"to_roman": 1.0, "to_words": 1.0, "from_roman": 1.2, "from_words": 1.0},
)
