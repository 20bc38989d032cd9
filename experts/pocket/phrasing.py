"""From templates to the many ways in which people type the same question.

A template is one line of ``phrasings/<domain>.yaml``: literal text, ``{slot}`` for what the problem fills in, and
``[this|that|]`` for alternatives. Templates are held out whole: a test phrasing shares no template with training. What is
held out is frozen, so that scores of different dates compare: a new template is taken only if it falls to training, and
if it is not close to one that is held out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random

from experts.pocket.domains.base import Split, split_of

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_WORD = re.compile(r"[a-z']+", re.IGNORECASE)
_OPENERS = (
    "hi, ", "hello, ", "hey ", "hey, ", "please ", "pls ", "ok ", "ok so ", "so ", "quick question: ", "um, ", "hmm ",
    "can you help me? ", "i need help: ", "question: ", "q: ", "yo ", "well, ", "right, ", "good morning, ", "dear bot, ",
    "sorry to bother you, ", "i was wondering, ", "just curious: ", "one more: ", "next: ", "excuse me, ", "hi there! ",
)  # fmt: skip
_CLOSERS = (
    " please", ", please", " pls", " plz", " thanks", ", thanks", " thank you", " thx", "? thanks", "? thank you!",
    " for me", ", if you can", " asap", " - cheers", " quickly", ", do you know?", ", any idea?", " right now", " ok",
    ". just the answer", ", just the result", " i forgot", "? i forgot", "? need it for homework", " ta", "? help",
)  # fmt: skip
_NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip


@cache
def templates_of(templates: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """The templates of one split."""
    return tuple(t for t in templates if split_of(t) == split)


def expand(template: str, rng: Random) -> str:
    """Resolves the alternatives of a template, innermost first."""
    while match := _CHOICE.search(template):
        template = template[: match.start()] + rng.choice(match[1].split("|")) + template[match.end() :]
    return re.sub(r"\s+", " ", template).strip()


def phrase(template: str, slots: Mapping[str, str], rng: Random, *, noise: float = 0.0) -> str:
    """One phrasing of a problem.

    Args:
        noise: probability of each kind of disturbance (a polite opening or closing, typing errors outside the slots,
            capitals, missing or repeated punctuation). Slots keep their spelling: an answer depends on them.
    """
    text = expand(template, rng)
    if rng.random() < noise:
        text = rng.choice(_OPENERS) + text
    if rng.random() < noise:
        text = text.rstrip(" ?.!") + rng.choice(_CLOSERS)
    typing_errors = rng.choice((1, 1, 2, 3)) if rng.random() < noise else 0
    pieces = _SLOT.split(text)  # literal, slot, literal, ... literal
    for _ in range(typing_errors):
        at = rng.randrange(0, len(pieces), 2)
        pieces[at] = _mistype(pieces[at], rng)
    pieces[1::2] = [slots[name] for name in pieces[1::2]]
    text = "".join(pieces)
    return _punctuate(text, rng) if rng.random() < noise else text


def unsettle(template: str, rng: Random, *, share: float, words: Sequence[str] = ()) -> str:
    """A template of which some words outside the slots are missing, or became other words.

    A model learns a template by heart from any of its words; so it learns to weigh them all, and to read past those that
    it does not know.

    Args:
        share: probability that a word is disturbed.
        words: what it may become, every third time; without them it is left out.
    """
    pieces = re.split(r"(\{\w+\})", expand(template, rng))
    pieces[::2] = [_WORD.sub(lambda word: _disturbed(word[0], rng, share, words), piece) for piece in pieces[::2]]
    return re.sub(r"\s+", " ", "".join(pieces)).strip()


def _disturbed(word: str, rng: Random, share: float, words: Sequence[str]) -> str:
    if rng.random() >= share:
        return word
    return rng.choice(words) if words and rng.random() < 1 / 3 else ""


def _mistype(text: str, rng: Random) -> str:
    spots = [i for i, c in enumerate(text) if c.isalpha()]
    if len(spots) < 3:
        return text
    i = rng.choice(spots)
    char = text[i]
    match rng.randrange(5):
        case 0:
            return text[:i] + text[i + 1 :]
        case 1:
            return text[:i] + char + text[i:]
        case 2:
            return text[:i] + text[i + 1 : i + 2] + char + text[i + 2 :] if i + 1 in spots else text
        case 3:
            return text[:i] + rng.choice(_NEIGHBOURS.get(char.lower(), char)) + text[i + 1 :]
        case _:
            return text[:i] + rng.choice("aeiou") + text[i + 1 :] if char.lower() in "aeiou" else text


def _punctuate(text: str, rng: Random) -> str:
    match rng.randrange(6):
        case 0:
            return text.rstrip("?.!")
        case 1:
            return text.rstrip("?.!") + rng.choice(("??", "?!", "...", "!", " ?", "."))
        case 2:
            return text.upper() if rng.random() < 0.3 else text.capitalize()
        case 3:
            return text.lower()
        case 4:
            return text.replace("'", "").replace(",", "")
        case _:
            return "  ".join(text.split(" ", 1))
