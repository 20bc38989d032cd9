from __future__ import annotations

import sys
from pathlib import Path

import pytest

from router.errors import DataError
from router.token_level.checkers import Branch, Verdict, task_checker
from router.token_level.judge import read_verdict
from router.token_level.problems import Problem

PROBLEM = Problem("how many?", "3*6=18 #### 18", "train")


def is_even(prompt: str, answer: str | None, response: str) -> bool:
    return int(response) % 2 == 0


@pytest.mark.parametrize(
    ("checker", "mark", "response", "right"),
    [
        ("number", "####", "so 3*6=18. #### 18", True),
        ("number", "####", "so 3*6=18. #### 18.0 coins", True),
        ("number", "####", "so 3*6=18", False),
        ("number", "####", "#### 19. or rather #### 18", True),
        ("number", None, "3*6 is 18", True),
        ("number", None, "20-2=18", True),
        ("number", None, "it is -18", False),
        ("exact", "####", "#### 18 ", True),
        ("exact", "####", "#### 18 coins", False),
    ],
)
async def test_final_answers(checker: str, mark: str | None, response: str, right: bool) -> None:
    assert await task_checker(checker, mark).grade(PROBLEM, response) is right


async def test_thousands_are_numbers() -> None:
    assert await task_checker("number").grade(Problem("?", "1,200", "test"), "1200.00") is True


async def test_without_an_answer_nobody_can_grade() -> None:
    assert await task_checker("exact").grade(Problem("?", None, "test"), "a") is None


@pytest.mark.parametrize(
    ("reference", "proposal", "verdict"),
    [
        ("#### 18", "therefore #### 18", "neutral"),
        ("#### 18", "#### 19", "divergent"),
        ("#### 18", "and so on and", "divergent"),
        ("and so on", "#### 18", "unclear"),
    ],
)
async def test_branches_are_compared_by_what_they_come_to(reference: str, proposal: str, verdict: Verdict) -> None:
    branch = Branch(PROBLEM, "so ", reference, proposal)
    assert await task_checker("number", "####").verify([branch]) == [verdict]


async def test_a_function_of_the_user_judges_the_whole_response() -> None:
    checker = task_checker(f"{__name__}:is_even")
    branches = [Branch(PROBLEM, "1", "0", last) for last in "23"]
    assert await checker.verify(branches) == ["neutral", "divergent"]


@pytest.mark.parametrize(
    "name", ["nonsense", "no_such_module:check", "math:no_such_function", "math:pi", ":check", "err_tool:check"]
)
def test_unknown_checkers_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "err_tool.py").write_text("raise RuntimeError")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(DataError, match="checker"):
        task_checker(name)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("They agree.\nVERDICT: SAME", "neutral"),
        ("VERDICT: SAME\nno, wait\nVERDICT: DIFFERENT\n", "divergent"),
        ("VERDICT: SAME\nI think", "unclear"),
        ("VERDICT: SAME or VERDICT: DIFFERENT", "unclear"),
        ("verdict: same", "unclear"),
        ("", "unclear"),
    ],
)
def test_a_judge_is_taken_at_its_last_line(reply: str, verdict: Verdict) -> None:
    assert read_verdict(reply) == verdict
