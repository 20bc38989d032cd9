from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from router.errors import DataError
from router.token_level.problems import Problem, check_unseen, read_problems, split_of


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_splits_are_by_the_prompt_alone() -> None:
    prompts = [f"problem {number}" for number in range(2000)]
    count = Counter(map(split_of, prompts))
    assert 0.65 < count["train"] / 2000 < 0.75
    assert all(0.07 < count[split] / 2000 < 0.13 for split in ("valid", "calibration", "test"))
    assert all(split_of(prompt) == split_of(f"  {prompt.upper()}\n") for prompt in prompts)


def test_rows_keep_their_own_split_and_repeated_prompts_count_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl", {"prompt": "a", "answer": "1", "split": "test", "more": 1}, {"prompt": "b"},
        {"prompt": "a", "answer": "1", "split": "test"},
    )  # fmt: skip
    assert read_problems(path) == [Problem("a", "1", "test"), Problem("b", None, split_of("b"))]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"prompt": "a"', "p.jsonl:1:"),
        ('{"answer": "1"}', "prompt: Field required"),
        ('{"prompt": " "}', "the prompt is empty"),
        ('{"prompt": "a", "split": "dev"}', "split"),
        ('{"prompt": "a", "split": "test"}\n{"prompt": "A", "split": "train"}', "p.jsonl:2:1: expected every prompt"),
        ("", "at least one prompt"),
    ],
)
def test_wrong_files_are_refused_with_the_place(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(lines)
    with pytest.raises(DataError, match=message):
        read_problems(path)


def test_test_prompts_must_be_unseen() -> None:
    known = [Problem("a", "1", "train"), Problem("b", "1", "test")]
    check_unseen([Problem("b", "1", "test"), Problem("c", "1", "test")], known, "test.jsonl")
    with pytest.raises(DataError, match="split train, found 'A'"):
        check_unseen([Problem("A", "1", "test")], known, "test.jsonl")
