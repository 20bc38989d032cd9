"""Built-in tools are found by name, and run where all tools run."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.tools.builtins.catalogue import load_builtin
from router.tools.call import ToolCaller
from router.tools.errors import ToolArgumentsError, ToolDefinitionError, ToolFailed
from router.tools.processes import ToolProcesses
from router.tools.registry import Registry


def _names(builtin: str) -> list[str]:
    return [tool.name for tool in load_builtin(builtin)]


def test_built_ins_are_found_by_name(tmp_path: Path) -> None:
    assert _names("calculator") == ["calculator"]
    assert _names("units") == ["convert_unit"]
    assert len(_names("arithmetic")) == 13
    assert "weekday" in _names("dates")
    (tmp_path / "orders.csv").write_text("id,item\n1,pen\n")
    assert load_builtin("sql", {"files": [tmp_path / "orders.csv"], "name": "orders"})[0].name == "orders"
    with pytest.raises(ToolDefinitionError, match="did you mean units"):
        load_builtin("unit")
    with pytest.raises(ToolDefinitionError, match="rows: Extra inputs"):
        load_builtin("units", {"rows": 3})


async def test_built_ins_run_in_processes(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("id,item\n1,pen\n")
    tools = Registry(
        [
            *(tool for name in ("calculator", "arithmetic", "units", "dates") for tool in load_builtin(name)),
            *load_builtin("sql", {"files": [tmp_path / "orders.csv"]}),
        ]
    )
    caller = ToolCaller(tools, processes=ToolProcesses(limit=1))
    try:
        for name, text, expected in (
            ("calculator", "((2+3)*4)", "20"),
            ("calculator", "2^10", "1024"),
            ("divide", "divide(12, 60)", "0.2"),
            ("lcm", "(4, 6, 10)", "60"),
            ("convert_unit", "(3, 'miles', 'km')", "4.828032"),
            ("add_to_date", "('2024-01-31', months=1)", "2024-02-29"),
            ("sql", "sql(SELECT item FROM orders)", "pen"),
        ):
            assert (await caller.call(name, text)).text == expected
        for name, text, error in (
            ("calculator", "9^9^9", ToolFailed),
            ("add", "add('1e999999999', 1)", (ToolArgumentsError, ToolFailed)),
            ("multiply", "multiply(1e300, 'nan')", ToolArgumentsError),
            ("power", "power(9e99, 9e99)", ToolFailed),
            ("convert_unit", "(1, 'm', 'second')", ToolFailed),
            ("sql", "sql(DROP TABLE orders)", ToolFailed),
            ("sql", "sql(SELECT 1, files=['/etc/passwd'])", ToolFailed),
        ):
            assert isinstance((await caller.call(name, text)).error, error)
    finally:
        await caller.aclose()
