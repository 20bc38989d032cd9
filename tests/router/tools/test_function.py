"""Typed functions become tools that a model can read and tokengraph can check."""

from __future__ import annotations

import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from router.tools.errors import ToolArgumentsError, ToolDefinitionError, UnknownTool
from router.tools.function import FunctionTool, tool
from router.tools.registry import Registry, load_function
from tests.router.tools import functions


def test_a_tool_is_described_by_its_function() -> None:
    multiply = functions.multiply
    assert (multiply.name, multiply.description) == ("multiply", "Multiplies two numbers.")
    assert multiply.reference == "tests.router.tools.functions:multiply"
    assert multiply.parameters == ("a", "b")
    assert multiply.schema["required"] == ["a"]
    assert multiply.schema["additionalProperties"] is False
    assert multiply(3, 4) == 12


def test_limits_and_name_can_be_given() -> None:
    move = functions.move
    assert (move.name, move.seconds, move.max_output, move.side_effects) == ("where", 30, 100, True)
    assert move.schema["properties"]["how"]["enum"] == ["walk", "fly"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('move("ann", {"town": "Rome"})', {"who": "ann", "to": {"town": "Rome", "floor": 0}}),
        ('who="ann", to={"town": "Rome", "floor": "2"}, how="fly"', {"who": "ann", "to": {"town": "Rome", "floor": 2}, "how": "fly"}),
    ],
)  # fmt: skip
def test_arguments_are_checked_into_json_values(text: str, expected: dict) -> None:
    assert functions.move.read(text.removeprefix("move")) == expected
    assert functions.move.check(expected) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("('ann')", "to: Field required"),
        ("('annabel', {'town': 'Rome'})", "who: String should have at most 5 characters, found 'annabel'"),
        ("('ann', {'town': 'Rome'}, 'swim')", "how: Input should be 'walk' or 'fly', found 'swim'"),
        ("('ann', {'town': 'Rome', 'floor': 'x'})", "to.floor: Input should be a valid integer"),
        ("('ann', 3)", "to: "),
        ('{"who": "ann", "to": {"town": "Rome"}, "extra": 1}', "extra: Extra inputs are not permitted"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ToolArgumentsError, match=r"^where: ") as refused:
        functions.move.read(text)
    assert reason in str(refused.value)


@tool
def settle(exact: Decimal, rough: float, anything: Any) -> str:
    """Takes numbers."""
    return f"{exact} {rough} {anything}"


def test_a_decimal_is_exact_where_the_function_takes_decimals_and_a_float_elsewhere() -> None:
    digits = "0.12345678901234567890123"
    found = settle.read(f'({digits}, {digits}, [{{"x": {digits}}}])')
    assert found == {"exact": digits, "rough": float(digits), "anything": [{"x": float(digits)}]}
    assert type(found["rough"]) is float and type(found["anything"][0]["x"]) is float


def test_a_setting_is_the_specs_and_out_of_the_models_reach(tmp_path: Path) -> None:
    assert functions.note.parameters == ("text",)
    configured = functions.note.configured({"file": str(tmp_path / "n.txt")})
    assert configured.settings == {"file": str(tmp_path / "n.txt")}
    with pytest.raises(ToolArgumentsError, match="found 'file'"):
        configured.read("note('x', file='/etc/passwd')")
    with pytest.raises(ToolArgumentsError, match="file: Extra inputs"):
        configured.check({"text": "x", "file": "/etc/passwd"})
    with pytest.raises(ToolDefinitionError, match="file: Field required"):
        functions.note.configured({})
    with pytest.raises(ToolDefinitionError, match="files: Extra inputs"):
        functions.multiply.configured({"files": []})


def no_types(a, b: int) -> int:
    """Adds."""


def many(*numbers: int) -> int:
    """Adds."""


def by_place(a: int, /) -> int:
    """Adds."""


def silent(a: int) -> int:
    return a


def odd_type(a: pytest.Item) -> int:
    """Adds."""


def unknown_type(a: "Nowhere") -> int:  # noqa: F821, UP037
    """Adds."""


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (no_types, "expected a type for each parameter, found none for a"),
        (many, r"can be given by name, found \*numbers"),
        (by_place, "can be given by name, found a"),
        (silent, "expected a description"),
        (odd_type, "expected types that pydantic checks"),
        (unknown_type, "expected types that can be resolved"),
    ],
)
def test_a_function_that_no_tool_can_be_made_of_is_refused(function: object, reason: str) -> None:
    with pytest.raises(ToolDefinitionError, match=reason):
        tool(function)


def test_a_function_that_another_process_cannot_import_is_refused() -> None:
    def local(a: int) -> int:
        """Adds."""
        return a

    with pytest.raises(ToolDefinitionError, match="expected a function at the top of a module"):
        tool(local)


@pytest.mark.parametrize(
    "limits", [{"name": "no spaces"}, {"seconds": 0}, {"max_output": 0}, {"name": "ä"}, {"description": " "}]
)
def test_limits_that_make_no_sense_are_refused(limits: dict) -> None:
    with pytest.raises(ToolDefinitionError):
        tool(**limits)(functions.plain)


def test_a_reference_is_imported() -> None:
    assert load_function("tests.router.tools.functions:multiply") is functions.multiply
    plain = load_function("tests.router.tools.functions:plain")
    assert isinstance(plain, FunctionTool)
    assert plain.description == "Adds one."


def test_a_module_beside_the_spec_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_the_spec.py").write_text('def one() -> int:\n    """Gives one."""\n    return 1\n')
    assert load_function("beside_the_spec:one", folder=tmp_path)() == 1


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("tests.router.tools.functions:nothing", "has no attribute 'nothing'"),
        ("no_such_package.tools:f", "No module named 'no_such_package'"),
        (":f", "without a module"),
        ("tests.router.tools.functions:", "without a function"),
        ("tests.router.tools.functions:not_a_function", "expected a function"),
        ("tests.router.tools.functions:Place", "expected a function"),
    ],
)
def test_a_reference_to_nothing_useful_is_refused(reference: str, reason: str) -> None:
    with pytest.raises(ToolDefinitionError, match=reason):
        load_function(reference)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("x = 1\ndef f(:\n    pass\n", "SyntaxError: .*broken_0.py:2"),
        ("x = 1\n\nraise RuntimeError('no database')\n", "RuntimeError: no database, .*broken_1.py:3"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3, .*broken_2.py:2"),
        ("import json\njson.loads('{')\n", "JSONDecodeError: .*broken_3.py:2"),  # not the line of json itself
    ],
)
def test_code_that_fails_at_its_import_is_told_with_its_place(
    code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = re.search(r"broken_\d", reason)[0]
    (tmp_path / f"{name}.py").write_text(code)
    with pytest.raises(ToolDefinitionError, match=reason):
        load_function(f"{name}:f", tmp_path)


def test_a_module_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "in_the_current_folder.py").write_text('def one() -> int:\n    """Gives one."""\n    return 1\n')
    monkeypatch.chdir(tmp_path)
    assert load_function("in_the_current_folder:one")() == 1


def test_a_registry_finds_tools_by_name() -> None:
    tools = Registry([functions.multiply, functions.move])
    assert (tools.names, len(tools)) == (("multiply", "where"), 2)
    assert list(tools) == [functions.multiply, functions.move]
    assert tools["where"] is functions.move
    with pytest.raises(UnknownTool, match="found 'multiplly'; did you mean multiply"):
        tools["multiplly"]
    with pytest.raises(ToolDefinitionError, match="found 'multiply' twice"):
        Registry([functions.multiply, functions.multiply])
