"""The scores of the pocket model that uses tools: the command, on one question a tool."""

from __future__ import annotations

import sys

from router.evals import pocket_tools


def test_command_writes_both_tables(tmp_path, monkeypatch) -> None:
    out = tmp_path / "page.md"
    monkeypatch.setattr(pocket_tools, "COUNTS", (1,))
    monkeypatch.setattr(sys, "argv", ["pocket_tools", "--each", "1", "--out", str(out)])
    pocket_tools.main()
    lines = out.read_text(encoding="utf-8").splitlines()
    (everything,) = (line for line in lines if line.startswith("| all |"))
    expert, _, _, without = (float(cell) for cell in everything.strip("| ").split(" | ")[1:])
    assert expert > 40 > without
    random, kept = (
        [float(cell) for cell in line.strip("| ").split(" | ")[1:]]
        for name in ("random initialisation", "prior + regularisation")
        for line in lines
        if line.startswith(f"| {name} |")
    )
    assert kept[0] > 50 > random[0]  # without an example
    assert kept[1] >= random[1]
