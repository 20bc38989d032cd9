"""Spelling: the letters of a word, reversed, counted, picked out or sorted."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

from experts.pocket.domains.base import Domain, Problem, Task

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VOWELS = "aeiou"
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ONSETS = (*"bcdfghjklmnprstvwyz", "bl", "br", "ch", "cl", "cr", "dr", "fl", "gr", "pl", "qu", "sh", "st", "th", "tr")
_NUCLEI = (*_VOWELS, *_VOWELS, "ai", "ea", "ee", "oo", "ou")
_CODAS = ("", "", "", "l", "ll", "m", "n", "nd", "ng", "p", "r", "s", "ss", "t", "tt", "x", "ck", "ff")
_LENGTHS = range(1, 11)
_LENGTH_WEIGHTS = (1, 2, 6, 8, 10, 10, 9, 8, 7, 6)


@cache
def english_words() -> tuple[str, ...]:
    """Common words of up to ten letters."""
    return tuple(Path(__file__).with_name("words.txt").read_text(encoding="ascii").split())


def _word(rng: Random) -> str:
    """A common word (55 %), a pronounceable invention or random letters, of at most ten letters."""
    kind = rng.random()
    if kind < 0.55:
        return rng.choice(english_words())
    length = rng.choices(_LENGTHS, _LENGTH_WEIGHTS)[0]
    if kind < 0.8:
        word = ""
        while len(word) < length:
            word += rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS)
        return word[:length]
    pool = rng.sample(_LETTERS, rng.choice((3, 5, 8, 26)))
    return "".join(rng.choices(pool, k=length))


def _quoted(text: str, rng: Random, p: float) -> str:
    mark = rng.choice("'\"") if rng.random() < p else ""
    return mark + text + mark


def _typed(word: str, rng: Random) -> str:
    """A word as a person might type it: bare, capitalised, in capitals, in quotes."""
    cased = rng.choices((word, word.capitalize(), word.upper()), (8, 1, 1))[0]
    return _quoted(cased, rng, 0.3)


def sample_reverse(rng: Random) -> Problem:
    """`reverse hello`: olleh."""
    word = _word(rng)
    return Problem({"w": _typed(word, rng)}, f"reverse {word}", word[::-1], key=word)


def sample_sort_letters(rng: Random) -> Problem:
    """`sort hello`: ehllo."""
    word = _word(rng)
    return Problem({"w": _typed(word, rng)}, f"sort {word}", "".join(sorted(word)), key=word)


def _letter_to_count(word: str, rng: Random) -> str:
    absent = sorted(set(_LETTERS) - set(word))
    if rng.random() < 0.2:
        vowels = [c for c in absent if c in _VOWELS]
        return rng.choice(vowels if vowels and rng.random() < 0.4 else absent)
    repeated = [c for c in word if word.count(c) > 1]
    return rng.choice(repeated if repeated and rng.random() < 0.6 else word)


def sample_count_letter(rng: Random) -> Problem:
    """`count l hello`: hel1l2o=2. The slot l is the letter, perhaps in quotes; c is the bare letter."""
    word = _word(rng)
    if len(set(word)) == len(word) and rng.random() < 0.4:  # words with a repeated letter are more interesting
        word = _word(rng)
    letter = _letter_to_count(word, rng)
    working, count = "", 0
    for char in word:
        working += char
        if char == letter:
            count += 1
            working += str(count)
    bare = letter.upper() if rng.random() < 0.15 else letter
    slots = {"w": _typed(word, rng), "l": _quoted(bare, rng, 0.25), "c": bare}
    return Problem(slots, f"count {letter} {word}", str(count), f"{working}=", word)


def _ordinal(n: int, rng: Random) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(n, "th")
    return _ORDINALS[n - 1] if rng.random() < 0.5 else f"{n}{suffix}"


def sample_nth_letter(rng: Random) -> Problem:
    """`letter 3 hello`: h1e2l3=l. The slot n is an ordinal, k a plain number."""
    word = _word(rng)
    n = rng.randint(1, len(word))
    plain = _NUMBERS[n - 1] if rng.random() < 0.15 else str(n)
    working = "".join(f"{char}{i}" for i, char in enumerate(word[:n], 1))
    slots = {"w": _typed(word, rng), "n": _ordinal(n, rng), "k": plain}
    return Problem(slots, f"letter {n} {word}", word[n - 1], f"{working}=", word)


def sample_last_letter(rng: Random) -> Problem:
    """`letter last hello`: hello=o."""
    word = _word(rng)
    slots = {"w": _typed(word, rng), "n": rng.choice(("last", "last", "final"))}
    return Problem(slots, f"letter last {word}", word[-1], f"{word}=", word)


DOMAIN = Domain(
    name="spelling",
    description="letters of words: reversing, counting, picking and sorting them",
    tasks=(
        Task("reverse", sample_reverse),
        Task("count_letter", sample_count_letter),
        Task("nth_letter", sample_nth_letter),
        Task("last_letter", sample_last_letter),
        Task("sort_letters", sample_sort_letters),
    ),
    weights={"reverse": 2.0, "count_letter": 2.0, "nth_letter": 2.0, "last_letter": 0.7, "sort_letters": 1.5},
)
