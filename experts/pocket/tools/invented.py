"""Made-up tools: any number of descriptions with questions that fit, so that the model learns to match the two by their words.

A tool that nobody thought of at training time is read the same way as ``count the ember ladders of a river``: by the words
that its description and a question share, and by taking the question's numbers and names as its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from experts.pocket.tools.arithmetic import whole
from experts.pocket.tools.problem import arguments, text

_VERBS = (
    ("finds", "find"), ("gives", "give me"), ("computes", "compute"), ("counts", "count"), ("takes", "take"),
    ("looks up", "look up"), ("measures", "measure"), ("calculates", "calculate"), ("gets", "get"), ("returns", "tell me"),
    ("works out", "work out"), ("makes", "make"), ("shows", "show me"), ("estimates", "estimate"), ("checks", "check"),
)  # fmt: skip
_DESCRIPTIONS = (
    "{does} the {a} {b} of {it}.", "{does} the {a} {b}.", "The {a} {b} of {it}.", "{does} a {a} {b} from {it} ({c}).",
    "{a} {b}: {does} it for {it}.", "{does} the {b} of a {a} by the {c}.", "{does} {a} {b} of {it}, or its {c}.",
    "{does} the {a} of {it}.", "{does} {it} as {a} {b} and {c}.",
)  # fmt: skip
_QUESTIONS = (
    "{do} the {a} {b} of {x}", "what is the {a} {b} of {x}?", "what's the {a} {b} of {x}", "{a} {b} of {x}",
    "{a} {b} {x}", "the {a} {b} for {x}?", "how much is the {a} {b} of {x}", "i need the {a} {b} of {x}",
    "can you {do} the {a} {b} for {x}", "{x}: {a} {b}", "please {do} {a} {b} of {x}", "{x}, what is its {a} {b}",
    "which {a} {b} has {x}", "{name}({x})", "{do} {b} of the {a} with {x}", "how many {a} {b} are in {x}",
    "tell me about the {a} {b} when i have {x}", "if i take {x}, what {a} {b} comes out",
)  # fmt: skip
_THINGS = ("a number", "two numbers", "a value", "numbers", "a word", "a date", "things", "a text")


@dataclass(frozen=True)
class Invented:
    """A made-up tool with one question for it.

    Attributes:
        about: the text of its token, ``name: description``.
        rival: the text of another tool that shares a word with it.
        arguments: the numbers and names of the question, in order.
    """

    about: str
    rival: str
    question: str
    arguments: str


@cache
def _words() -> tuple[str, ...]:
    path = Path(__file__).parent.parent / "domains" / "words.txt"
    return tuple(word for word in path.read_text(encoding="utf-8").split() if len(word) > 2)


def draw_invented(rng: Random) -> Invented:
    """A tool of two or three random words."""
    a, b, c, other = rng.sample(_words(), 4)
    given, shown = _arguments(rng)
    do = rng.choice(_VERBS)
    question = rng.choice(_QUESTIONS).format(
        do=rng.choice(_VERBS)[1], a=_bent(a, rng), b=_bent(b, rng), x=shown, name=rng.choice((f"{a}_{b}", a, b))
    )
    rival = (a, other, c) if rng.random() < 0.5 else (other, b, c)
    return Invented(_about((a, b, c), do[0], rng), _about(rival, do[0], rng), question, given)


def _about(words: tuple[str, str, str], does: str, rng: Random) -> str:
    a, b, c = words
    description = rng.choice(_DESCRIPTIONS).format(does=does, a=a, b=b, c=c, it=rng.choice(_THINGS))
    name = rng.choice((f"{a}_{b}", f"{a}_{b}", b, f"{a}_of_{b}"))
    return f"{name}: {description[0].upper()}{description[1:]}"


def _arguments(rng: Random) -> tuple[str, str]:
    """The arguments as called, and as a question has them."""
    if rng.random() < 0.15:
        word = rng.choice(_words())
        return arguments(text(word)), word
    values = [str(whole(rng)) for _ in range(rng.choice((1, 2, 2)))]
    joint = rng.choice((" and ", " by ", ", ", " with ", " from ", " over "))
    return arguments(*values), joint.join(values)


def _bent(word: str, rng: Random) -> str:
    """The word, now and then in another form."""
    return word + rng.choice(("s", "ed", "ing")) if rng.random() < 0.1 else word
