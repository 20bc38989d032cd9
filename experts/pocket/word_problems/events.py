"""What can happen to a running quantity in a word problem: numbers and equations, no words yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random

LARGEST = 60  # no quantity on the way is larger
LARGEST_ANSWER = 150  # but the last product may be
_COMPUTE: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
}
_TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}


@dataclass(frozen=True)
class Step:
    """One equation, ``left operator right = result``."""

    left: int
    operator: str
    right: int

    @property
    def result(self) -> int:
        """What it comes to."""
        return _COMPUTE[self.operator](self.left, self.right)

    def __str__(self) -> str:
        return f"{self.left}{self.operator}{self.right}={self.result}"


@dataclass(frozen=True)
class Event:
    """One sentence's worth of a story: what fills its numbers, and the steps that it takes."""

    kind: str
    numbers: Mapping[str, int | str]
    steps: tuple[Step, ...]


Draw = Callable[[Random, int], Event]


def _small(rng: Random) -> int:
    return rng.randint(2, 12)


def _by(rng: Random) -> int:
    return rng.choice((2, 2, 3, 3, 4, 5))


def _one(kind: str, operator: str, slot: str, number: Callable[[Random], int]) -> tuple[str, Draw]:
    def draw(rng: Random, quantity: int) -> Event:
        drawn = number(rng)
        return Event(kind, {slot: drawn}, (Step(quantity, operator, drawn),))

    return kind, draw


def _word(kind: str) -> tuple[str, Draw]:
    def draw(rng: Random, quantity: int) -> Event:
        factor = _by(rng)
        return Event(kind, {"v": _TIMES[factor]}, (Step(quantity, "*", factor),))

    return kind, draw


def _packs(kind: str, operator: str) -> tuple[str, Draw]:
    def draw(rng: Random, quantity: int) -> Event:
        packs = Step(rng.randint(2, 5), "*", rng.randint(2, 6))
        return Event(kind, {"a": packs.left, "b": packs.right}, (packs, Step(quantity, operator, packs.result)))

    return kind, draw


def _together(kind: str, operator: str) -> tuple[str, Draw]:
    def draw(rng: Random, quantity: int) -> Event:
        number = _small(rng)
        other = Step(quantity, operator, number)
        return Event(kind, {"n": number}, (other, Step(quantity, "+", other.result)))

    return kind, draw


def _have(rng: Random, _: int) -> Event:
    return Event("have", {"n": rng.randint(4, 40)}, ())


def _rows(rng: Random, _: int) -> Event:
    packs = Step(rng.randint(2, 6), "*", rng.randint(2, 9))
    return Event("rows", {"a": packs.left, "b": packs.right}, (packs,))


def _half(_: Random, quantity: int) -> Event:
    return Event("half", {}, (Step(quantity, "/", 2),))


def _left(_: Random, __: int) -> Event:
    return Event("left", {}, ())


def _goal(rng: Random, quantity: int) -> Event:
    wanted = quantity + _small(rng)
    return Event("goal", {"n": wanted}, (Step(wanted, "-", quantity),))


OPENINGS: dict[str, Draw] = {"have": _have, "rows": _rows}
MIDDLES: dict[str, Draw] = {
    "half": _half,
    **dict(
        (
            _one("gain", "+", "n", _small),
            _one("lose", "-", "n", _small),
            _one("share", "/", "k", _by),
            _word("times"),
            _packs("packs_in", "+"),
            _packs("packs_out", "-"),
        )
    ),
}
QUESTIONS: dict[str, Draw] = {
    "left": _left,
    "goal": _goal,
    **dict(
        (
            _one("price", "*", "k", _by),
            _one("shared_out", "/", "k", _by),
            _one("more", "+", "n", _small),
            _one("fewer", "-", "n", _small),
            _word("multiple"),
            _together("together_more", "+"),
            _together("together_fewer", "-"),
        )
    ),
}
KINDS = (*OPENINGS, *MIDDLES, *QUESTIONS)


def start(event: Event) -> int:
    """The quantity after an opening."""
    return event.steps[-1].result if event.steps else int(event.numbers["n"])


def possible(steps: Iterable[Step], largest: int = LARGEST) -> bool:
    """Whether divisions come out even and every result is a quantity from 2 to ``largest``."""
    return all(2 <= s.result <= largest and (s.operator != "/" or s.left % s.right == 0) for s in steps)
