"""A whole word problem: drawn, assigned to a split, told in sentences, and worked out in steps.

Held out by construction: the sequence of sentence templates and the sequence of equations are each assigned to a split by
hash, and a problem belongs to a split only if both do. One sentence template in ten is never trained on at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from experts.pocket.domains import load_phrasings
from experts.pocket.domains.base import Split, split_of
from experts.pocket.phrasing import expand
from experts.pocket.word_problems.events import (
    LARGEST_ANSWER,
    MIDDLES,
    OPENINGS,
    QUESTIONS,
    Event,
    Step,
    possible,
    start,
)

_STEP_WEIGHTS = {2: 0.5, 3: 0.32, 4: 0.18}
_DISTRACTED = 0.3
_COMMUTED = 0.25
_NAMED = {"+": "plus", "-": "minus", "*": "times", "/": "divided"}
_SHE = ("mia", "ana", "lea", "eva", "sue", "ida", "zoe", "kim")
_HE = ("tom", "ben", "max", "leo", "sam", "jon", "gus", "ali")
_THINGS = ("apples", "eggs", "plums", "pears", "nuts", "figs", "buns", "cakes", "sweets", "beans", "rolls", "dates")


@dataclass(frozen=True)
class WordProblem:
    """One problem.

    Attributes:
        text: as it is asked.
        response: the steps, one way of many to write them, then ``#### answer``.
        events: what happens, sentence by sentence.
        templates: of the sentences.
    """

    text: str
    response: str
    events: tuple[Event, ...]
    templates: tuple[str, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The equations."""
        return tuple(step for event in self.events for step in event.steps)

    @property
    def answer(self) -> int:
        """The final number."""
        return self.steps[-1].result


def draw_problem(rng: Random, split: Split, *, new_wording: bool = False) -> WordProblem:
    """A problem of the split.

    Args:
        new_wording: tell it in sentence templates that are never trained on, and in no others.
    """
    while True:
        events = draw_events(rng)
        steps = tuple(step for event in events for step in event.steps)
        if rng.random() < _DISTRACTED:
            events.insert(rng.randint(1, len(events) - 1), Event("distraction", {"n": rng.randint(2, 30)}, ()))
        templates = [rng.choice(sentences(event.kind, new_wording=new_wording)) for event in events]
        if split_of(" ".join(templates)) == split_of(" ".join(map(str, steps))) == split:
            return _tell(rng, events, templates, steps)


def sentences(kind: str, *, new_wording: bool) -> tuple[str, ...]:
    """The sentence templates of a kind of event: those that are trained on, or those that are not."""
    templates = load_phrasings("word_problems")[kind]
    return tuple(t for t in templates if (split_of(t) == "test") == new_wording)


def draw_events(rng: Random) -> list[Event]:
    """An opening, what happens then, and a question: two to four steps together."""
    wanted = rng.choices(list(_STEP_WEIGHTS), list(_STEP_WEIGHTS.values()))[0]
    while (events := _attempt(rng, wanted)) is None:
        pass
    return events


def _attempt(rng: Random, wanted: int) -> list[Event] | None:
    """Events that take the wanted number of steps together; None if this attempt led to none."""
    events = [OPENINGS["have" if rng.random() < 0.7 else "rows"](rng, 0)]
    quantity = start(events[0])
    taken = len(events[0].steps)
    question = rng.choice(list(QUESTIONS))
    while True:
        last = QUESTIONS[question](rng, quantity)
        if taken + len(last.steps) == wanted:
            events.append(last)
            return events if possible(last.steps, LARGEST_ANSWER) else None
        event = MIDDLES[rng.choice(list(MIDDLES))](rng, quantity)
        taken += len(event.steps)
        if taken > wanted or not possible(event.steps):
            return None
        events.append(event)
        quantity = event.steps[-1].result


def _tell(rng: Random, events: list[Event], templates: list[str], steps: tuple[Step, ...]) -> WordProblem:
    female = rng.random() < 0.5
    person = rng.choice(_SHE if female else _HE)
    others = rng.sample([name for name in _SHE + _HE if name != person], len(events))
    slots: dict[str, int | str] = {"p": person, "t": rng.choice(_THINGS)}
    slots |= {"s": "she", "m": "her", "h": "her"} if female else {"s": "he", "m": "him", "h": "his"}
    told = [
        expand(template, rng).format_map(slots | dict(event.numbers) | {"o": other})
        for event, template, other in zip(events, templates, others, strict=True)
    ]
    return WordProblem(" ".join(told), work_out(rng, steps, slots), tuple(events), tuple(templates))


def work_out(rng: Random, steps: tuple[Step, ...], slots: dict[str, int | str]) -> str:
    """The steps in one of their many wordings."""
    wording = load_phrasings("word_problem_steps")
    written = ""
    for i, step in enumerate(steps):
        if step.operator in "+*" and rng.random() < _COMMUTED:
            step = Step(step.right, step.operator, step.left)
        opener = rng.choice(wording["first" if i == 0 else "next"]) + rng.choice((" ", ", "))
        body = rng.choice(wording["step"]).replace("{named}", rng.choice(wording[_NAMED[step.operator]]))
        tail = rng.choice(wording["tail"]) + (". " if i == len(steps) - 1 else rng.choice(wording["end"]))
        written += (opener + expand(body, rng) + tail).format_map(slots | {"e": str(step)})
    return f"{written}#### {steps[-1].result}"
