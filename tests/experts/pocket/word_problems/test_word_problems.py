"""Word problems: the arithmetic against an independent one, the splits, and the check of responses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from random import Random

import pytest

from experts.pocket.domains import load_phrasings
from experts.pocket.domains.base import split_of
from experts.pocket.phrasing import expand
from experts.pocket.tokenizer import CHARACTERS
from experts.pocket.word_problems.data import fixed_problems, is_correct, router_prompts, word_problem_pairs
from experts.pocket.word_problems.events import KINDS
from experts.pocket.word_problems.story import draw_problem, sentences

WORDS = {"twice": 2, "three times": 3, "four times": 4, "five times": 5}
# What each kind of sentence does to the quantity, from its numbers alone: (before, numbers) -> after.
MEANING = {
    "have": lambda q, n: n["n"],
    "rows": lambda q, n: n["a"] * n["b"],
    "gain": lambda q, n: q + n["n"],
    "lose": lambda q, n: q - n["n"],
    "times": lambda q, n: q * WORDS[n["v"]],
    "share": lambda q, n: q / n["k"],
    "half": lambda q, n: q / 2,
    "packs_in": lambda q, n: q + n["a"] * n["b"],
    "packs_out": lambda q, n: q - n["a"] * n["b"],
    "distraction": lambda q, n: q,
    "left": lambda q, n: q,
    "price": lambda q, n: q * n["k"],
    "shared_out": lambda q, n: q / n["k"],
    "goal": lambda q, n: n["n"] - q,
    "more": lambda q, n: q + n["n"],
    "fewer": lambda q, n: q - n["n"],
    "multiple": lambda q, n: q * WORDS[n["v"]],
    "together_more": lambda q, n: q + q + n["n"],
    "together_fewer": lambda q, n: q + q - n["n"],
}


def test_answers_follow_from_the_numbers_told() -> None:
    rng = Random(1)
    for _ in range(500):
        problem = draw_problem(rng, "train")
        quantity = 0
        for event in problem.events:
            quantity = MEANING[event.kind](quantity, event.numbers)
            for number in event.numbers.values():
                assert str(number) in problem.text
        assert quantity == problem.answer
        assert 2 <= len(problem.steps) <= 4


def test_responses_write_every_equation_and_end_in_the_answer() -> None:
    rng = Random(2)
    for _ in range(500):
        problem = draw_problem(rng, "train")
        equations = re.findall(r"(\d+)([-+*/])(\d+)=(\d+)", problem.response)
        assert len(equations) == len(problem.steps)
        for (left, operator, right, result), step in zip(equations, problem.steps, strict=True):
            assert {int(left), int(right)} == {step.left, step.right}
            assert operator == step.operator
            assert int(result) == {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}[
                operator
            ](int(left), int(right))
        assert is_correct(problem.text, str(problem.answer), problem.response)
        assert set(problem.text + problem.response) <= set(CHARACTERS)
        assert problem.text == problem.text.lower().strip()


def test_one_problem_has_many_wordings() -> None:
    rng = Random(3)
    problem = draw_problem(rng, "train")
    from experts.pocket.word_problems.story import work_out

    slots = {"p": "mia", "s": "she", "m": "her", "t": "eggs"}
    written = {work_out(rng, problem.steps, slots) for _ in range(200)}
    assert len(written) > 190
    assert all(is_correct("", str(problem.answer), text) for text in written)


def test_splits_share_neither_sequences_of_sentences_nor_of_equations() -> None:
    rng = Random(4)
    seen = {split: [draw_problem(rng, split) for _ in range(120)] for split in ("train", "valid", "test")}
    for of in (lambda p: p.templates, lambda p: p.steps):
        train, valid, test = ({of(problem) for problem in seen[split]} for split in ("train", "valid", "test"))
        assert not train & test
        assert not train & valid
        assert not valid & test


@pytest.mark.parametrize("kind", [*KINDS, "distraction"])
def test_every_kind_has_sentences_to_train_on_and_held_out_ones_that_can_be_told(kind: str) -> None:
    trained, held_out = (sentences(kind, new_wording=new) for new in (False, True))
    assert len(trained) >= 7
    assert held_out
    assert all(split_of(template) == "test" for template in held_out)
    slots = dict.fromkeys("psmhot", "x") | dict.fromkeys("nkab", "7") | {"v": "twice"}
    for template in trained + held_out:
        assert "{" not in expand(template, Random(5)).format_map(slots)


def test_sentences_tell_the_numbers_of_their_kind_once() -> None:
    numbers = {
        "rows": "ab", "packs_in": "ab", "packs_out": "ab", "times": "v", "multiple": "v", "share": "k", "price": "k",
        "shared_out": "k", "half": "", "left": "",
    }  # fmt: skip
    for kind, templates in load_phrasings("word_problems").items():
        for template in templates:
            assert sorted(re.findall(r"\{([nkabv])\}", template)) == sorted(numbers.get(kind, "n")), template


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("so 16-3=13. #### 13", True),
        ("so 16-3=13. #### 13\n", True),
        ("so 16-3=13. #### 130", False),
        ("so 16-3=13. #### 113", False),
        ("so 16-3=13.", False),
        ("#### 13, no, #### 12", False),
        ("#### 13 eggs", False),
        ("", False),
    ],
)
def test_a_response_is_right_if_it_ends_in_exactly_the_answer(response: str, right: bool) -> None:
    assert is_correct("mia has 16 eggs ...", "13", response) is right
    assert not is_correct("mia has 16 eggs ...", None, response)


def test_training_pairs_are_problems_and_bare_equations() -> None:
    pairs = word_problem_pairs(Random(6), "train")
    drawn = [next(pairs) for _ in range(400)]
    bare = [pair for pair in drawn if "#" not in pair.response]
    assert 240 < len(bare) < 360
    for pair in bare:
        assert re.fullmatch(r"\d+[-+*/]\d+=\d+", pair.response)
        assert pair.response.startswith(pair.prompt + "=")


def test_prompts_for_a_router_are_dealt_into_disjoint_splits_of_the_right_origin() -> None:
    rows = list(router_prompts(60))
    assert len({row["prompt"] for row in rows}) == len(rows) == 60
    assert {s: sum(r["split"] == s for r in rows) for s in ("train", "valid", "calibration", "test")} == {
        "train": 42, "valid": 6, "calibration": 6, "test": 6,
    }  # fmt: skip
    tests = {problem.text: str(problem.answer) for problem in fixed_problems("test", 6)}
    assert {row["prompt"]: row["answer"] for row in rows if row["split"] == "test"} == tests


def test_the_command_writes_problems_in_held_out_sentences(tmp_path) -> None:
    out = tmp_path / "new.jsonl"
    command = [
        sys.executable,
        "-m",
        "experts.pocket.word_problems.data",
        "--new-wording",
        "--size",
        "5",
        "--out",
        str(out),
    ]
    subprocess.run(command, check=True, timeout=120)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    expected = fixed_problems("test", 5, new_wording=True)
    assert [row["prompt"] for row in rows] == [problem.text for problem in expected]
    assert all(split_of(template) == "test" for problem in expected for template in problem.templates)
