"""The scores of the pocket model that uses tools: the command on one question a tool, the choice on more."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from router.evals import everyday_tools, later_tools, pocket_tools


def test_command_writes_all_tables(tmp_path, monkeypatch) -> None:
    out = tmp_path / "page.md"
    monkeypatch.setattr(pocket_tools, "COUNTS", (2,))
    for module in (everyday_tools, later_tools):
        monkeypatch.setattr(module, "FOLDER", _thinned(module.FOLDER, tmp_path))
    monkeypatch.setattr(sys, "argv", ["pocket_tools", "--each", "1", "--out", str(out)])
    pocket_tools.main()
    lines = out.read_text(encoding="utf-8").splitlines()
    everything, everyday = (line for line in lines if line.startswith("| all |"))
    expert, _, _, without = _cells(everything)
    assert expert > 40 > without
    assert min(_cells(everyday)) > 60
    assert any(line.startswith("| prior + regularisation |") for line in lines)
    (before, after), (own, kept) = (
        _cells(next(line for line in lines if line.startswith(f"| {name} |")))
        for name in ("all that were added", "the node's own tools")
    )
    assert before == 0 < after
    assert 50 < kept <= own


def _cells(line: str) -> list[float]:
    return [float(cell) for cell in line.strip("| ").split(" | ")[1:]]


def _thinned(folder: Path, tmp_path: Path) -> Path:
    """The files of questions, every ninth line of each."""
    thin = tmp_path / "thin"
    thin.mkdir(exist_ok=True)
    for file in folder.glob("*tools*.jsonl"):
        (thin / file.name).write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[::9]), encoding="utf-8")
    return thin


@pytest.mark.parametrize("name", everyday_tools.SETS)
async def test_everyday_questions_are_answered_by_the_calls_beside_them(name: str) -> None:
    asked = await everyday_tools.everyday_questions(name)
    assert set(Counter(question.tool for question in asked).values()) == {10}
    assert all(question.is_answered_by(question.result) for question in asked)


def test_an_everyday_answer_is_the_result_and_nothing_else() -> None:
    sum_, days = (everyday_tools.Asked("?", tool, "5") for tool in ("add", "days_between"))
    assert sum_.is_answered_by("5")
    assert days.is_answered_by("5 days")
    for answer in ("5 and 12", "5 apples", "15", "", "5.0"):
        assert not sum_.is_answered_by(answer)
    assert not days.is_answered_by("5 and 12")


async def test_everyday_sets_share_no_question() -> None:
    dev, test = [await everyday_tools.everyday_questions(name) for name in everyday_tools.SETS]
    assert not {q.query.casefold() for q in dev} & {q.query.casefold() for q in test}


async def test_with_few_examples_rows_that_start_from_descriptions_lead(monkeypatch) -> None:
    monkeypatch.setattr(pocket_tools, "COUNTS", (2,))
    engine = await create_engine(LocalWorker(model="pocket:tool_base", max_batch=64))
    table = await pocket_tools.rows_table(engine, 40, 0)  # as many questions as the command has unless told otherwise
    await engine.close()
    found = {name: scores for name, *scores in table.rows}
    assert found["prior + regularisation"][-1] > found["random initialisation"][-1]
    assert found["prior only"][0] > 10 * found["random initialisation"][0]
