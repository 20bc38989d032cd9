"""The scores of the pocket model that uses tools: the command on one question a tool, the choice on more."""

from __future__ import annotations

import sys

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from router.evals import pocket_tools


def test_command_writes_both_tables(tmp_path, monkeypatch) -> None:
    out = tmp_path / "page.md"
    monkeypatch.setattr(pocket_tools, "COUNTS", (2,))
    monkeypatch.setattr(sys, "argv", ["pocket_tools", "--each", "1", "--out", str(out)])
    pocket_tools.main()
    lines = out.read_text(encoding="utf-8").splitlines()
    (everything,) = (line for line in lines if line.startswith("| all |"))
    expert, _, _, without = (float(cell) for cell in everything.strip("| ").split(" | ")[1:])
    assert expert > 40 > without
    assert any(line.startswith("| prior + regularisation |") for line in lines)


async def test_with_few_examples_rows_that_start_from_descriptions_lead(monkeypatch) -> None:
    monkeypatch.setattr(pocket_tools, "COUNTS", (2,))
    engine = await create_engine(LocalWorker(model="pocket:tool_base", max_batch=64))
    table = await pocket_tools.rows_table(engine, 40, 0)  # as many questions as the command has unless told otherwise
    await engine.close()
    found = {name: scores for name, *scores in table.rows}
    assert found["prior + regularisation"][-1] > found["random initialisation"][-1]
    assert found["prior only"][0] > 10 * found["random initialisation"][0]
