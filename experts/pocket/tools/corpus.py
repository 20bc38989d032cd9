"""What the tool-using model learns from: endless lessons, a question and what to write for it.

Four kinds, mixed: real problems with the tools that exist; made-up tools; tasks of the other pocket domains as if they
were tools; and small talk, for which no call is due. Of the real problems some come without tools: there the model
guesses the answer, as any language model would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import cast

from experts.pocket.corpus import UNSETTLED, draw_example, worded
from experts.pocket.domains import OFF_TOPIC, load_domain, load_phrasings
from experts.pocket.domains.base import Domain, Split, Task
from experts.pocket.phrasing import phrase, templates_of
from experts.pocket.tools import arithmetic, dates, units
from experts.pocket.tools.invented import draw_invented
from experts.pocket.tools.problem import Call, ToolProblem

DOMAINS: dict[str, Domain] = {
    "arithmetic": arithmetic.DOMAIN,
    "units": units.DOMAIN,
    "dates": dates.DOMAIN,
}
DECLINED = "i can only calculate, convert units and work with dates."
_UNAIDED = 0.12  # of the real problems
_KINDS = {"real": 0.68, "invented": 0.19, "borrowed": 0.08, "none": 0.05}
_DOMAIN_WEIGHTS = (3.5, 1.0, 1.2)


@dataclass(frozen=True)
class ToolExample:
    """A question as typed, and the problem that it poses."""

    question: str
    task: str
    problem: ToolProblem


@dataclass(frozen=True)
class Lesson:
    """A question and what to write for it.

    Attributes:
        parts: text and calls; a call without arguments ends the lesson, since nothing is known of how it goes on.
        abouts: for each tool called, the text that its row is read from.
        rivals: texts of other tools to offer beside.
        aided: tools are on offer; otherwise no call may be written.
    """

    question: str
    parts: tuple[str | Call, ...]
    abouts: Mapping[str, str]
    rivals: tuple[str, ...] = ()
    aided: bool = True


def phrasings_of(domain: Domain) -> Mapping[str, tuple[str, ...]]:
    """The templates of a domain by task; sums, differences and products are asked for as in the domain `arithmetic`."""
    own = load_phrasings(domain.name)
    return {**load_phrasings("arithmetic"), **own} if domain is arithmetic.DOMAIN else own


def draw_problem(
    rng: Random, domain: Domain, split: Split, *, noise: float = 0.25, unsettled: float = 0.0, task: Task | None = None
) -> ToolExample:
    """A problem of a domain, or of one of its tasks, in one of the split's phrasings; see `draw_example`."""
    if task is None:
        task = rng.choices(domain.tasks, [domain.weights.get(t.name, 1.0) for t in domain.tasks])[0]
    problem = cast("ToolProblem", task.draw(rng, split))
    templates = templates_of(phrasings_of(domain)[task.name], split)
    question = worded(rng, templates, problem.slots, noise=noise, unsettled=unsettled)
    return ToolExample(question, task.name, problem)


def draw_lesson(rng: Random, split: Split) -> Lesson:
    """A lesson of any kind."""
    match rng.choices(tuple(_KINDS), tuple(_KINDS.values()))[0]:
        case "real":
            return _real(rng, split)
        case "invented":
            made = draw_invented(rng)
            call = Call("invented", made.arguments, str(rng.randrange(10_000)))
            rivals = (made.rival,) if rng.random() < 0.4 else ()
            return Lesson(made.question, (call,), {"invented": made.about}, rivals)
        case "borrowed":
            return _borrowed(rng, split)
        case _:
            return Lesson(draw_example(rng, OFF_TOPIC, split).query, (DECLINED,), {})


def about(rng: Random, tool: str) -> str:
    """The text of a tool's row, in one of several wordings: its name and a description."""
    own, *others = descriptions()[tool]
    wording = own if rng.random() < 0.3 else rng.choice(others)
    return f"{tool if rng.random() < 0.5 else tool.replace('_', ' ')}: {wording}"


@cache
def descriptions() -> Mapping[str, tuple[str, ...]]:
    """The wordings of each tool's description; the first one of a real tool is the tool's own."""
    return {name: tuple(texts) for name, texts in _file()["tools"].items()} | {
        name: tuple(texts) for tasks in _file()["borrowed"].values() for name, texts in tasks.items()
    }


@cache
def _file() -> Mapping[str, Mapping[str, Mapping[str, list[str]]]]:
    import yaml

    path = Path(__file__).with_name("descriptions.yaml")
    return cast("Mapping[str, Mapping[str, Mapping[str, list[str]]]]", yaml.safe_load(path.read_text(encoding="utf-8")))


def _real(rng: Random, split: Split) -> Lesson:
    domain = rng.choices(tuple(DOMAINS.values()), _DOMAIN_WEIGHTS)[0]
    example = draw_problem(rng, domain, split, unsettled=UNSETTLED)
    if rng.random() < _UNAIDED:
        return Lesson(example.question, (example.problem.answer,), {}, aided=False)
    called = {part.tool for part in example.problem.parts if isinstance(part, Call)}
    return Lesson(example.question, example.problem.parts, {tool: about(rng, tool) for tool in called})


def _borrowed(rng: Random, split: Split) -> Lesson:
    borrowed = _file()["borrowed"]
    name = rng.choice(tuple(borrowed))
    task = rng.choice(tuple(borrowed[name]))
    problem = next(t for t in load_domain(name).tasks if t.name == task).draw(rng, split)
    template = rng.choice(templates_of(load_phrasings(name)[task], split))
    return Lesson(phrase(template, problem.slots, rng, noise=0.25), (Call(task, "", ""),), {task: about(rng, task)})
