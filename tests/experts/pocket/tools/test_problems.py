"""The questions against the tools themselves: what a lesson says comes out is what the tool gives."""

from __future__ import annotations

import re
from random import Random

import pytest

from experts.pocket.domains.base import Task
from experts.pocket.phrasing import expand, templates_of
from experts.pocket.tokenizer import CHARACTERS
from experts.pocket.tools.corpus import DOMAINS, descriptions, draw_lesson, draw_problem, phrasings_of
from experts.pocket.tools.problem import Call
from router.tools import Registry
from router.tools.builtins.catalogue import load_builtin

TOOLS = Registry(tool for name in ("calculator", "arithmetic", "units", "dates") for tool in load_builtin(name))
TASKS = [(name, task) for name, domain in DOMAINS.items() for task in domain.tasks]


@pytest.mark.parametrize(("domain", "task"), TASKS, ids=[task.name for _, task in TASKS])
def test_calls_give_what_the_problem_says(domain: str, task: Task) -> None:
    rng = Random(21)
    for _ in range(60):
        problem = draw_problem(rng, DOMAINS[domain], "train", task=task).problem
        for call in (part for part in problem.parts if isinstance(part, Call)):
            tool = TOOLS[call.tool]
            arguments = tool.signature.check(tool.name, tool.read(call.arguments))
            assert str(tool(**arguments)) == call.result, call


@pytest.mark.parametrize(("domain", "task"), TASKS, ids=[task.name for _, task in TASKS])
def test_every_template_fills_and_every_split_has_some(domain: str, task: Task) -> None:
    rng = Random(22)
    templates = phrasings_of(DOMAINS[domain])[task.name]
    for template in templates:
        slots = draw_problem(rng, DOMAINS[domain], "train", task=task).problem.slots
        text = expand(template, rng)
        assert not set("[]") & set(text)
        assert set(re.findall(r"\{(\w+)\}", text)) <= set(slots), template
    parts = [templates_of(templates, split) for split in ("train", "valid", "test")]
    assert all(parts)
    assert sum(map(len, parts)) == len(set(templates)) == len(templates)
    assert {draw_problem(rng, DOMAINS[domain], "test", task=task).problem.split for _ in range(20)} == {"test"}


def test_the_user_sees_results_in_the_place_of_calls() -> None:
    task = next(task for task in DOMAINS["arithmetic"].tasks if task.name == "two_sums")
    problem = draw_problem(Random(23), DOMAINS["arithmetic"], "train", task=task).problem
    first, second = (part for part in problem.parts if isinstance(part, Call))
    assert problem.answer == f"{first.result} and {second.result}"
    assert problem.marked == f"<add>{first.arguments}={first.result} and <add>{second.arguments}={second.result}"


def test_lessons_offer_what_they_call_and_some_have_no_tools() -> None:
    rng, kinds = Random(24), set()
    for _ in range(3000):
        lesson = draw_lesson(rng, "train")
        called = {part.tool for part in lesson.parts if isinstance(part, Call)}
        assert called == set(lesson.abouts)
        kinds.add((bool(called), lesson.aided))
        if not lesson.aided:
            assert not called
    assert kinds == {(True, True), (False, True), (False, False)}


def test_real_tools_are_described_by_their_own_words_first() -> None:
    for tool in TOOLS:
        if tool.name in descriptions():
            assert descriptions()[tool.name][0] == tool.description
    assert {task.draw(Random(25), "train").tool for _, task in TASKS} <= descriptions().keys()


def test_questions_are_typed_with_what_the_vocabulary_has() -> None:
    rng = Random(26)
    for name, task in TASKS:
        for _ in range(20):
            problem = draw_problem(rng, DOMAINS[name], "test", task=task).problem
            assert set(problem.marked + "".join(problem.slots.values())) <= set(CHARACTERS)
