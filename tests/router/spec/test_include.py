"""Specs in several files."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import Location, SpecError, SpecProblem
from router.spec import load_spec

WORKERS = "workers:\n  w: {engine: scripted, rules: [{answer: hi}]}\n"
MAIN = """\
include: [parts/workers.yaml, parts/nodes.yaml]
entry: a
nodes:
  a: {kind: expert, worker: w}
edges:
  - {from: a, to: b}
"""
NODES = """\
entry: b
budget: {tokens: 9}
nodes:
  b: {kind: expert, worker: w}
  c: {kind: expert, worker: w}
edges:
  - {from: b, to: c}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "main.yaml").write_text(MAIN)
    (tmp_path / "parts" / "workers.yaml").write_text(WORKERS)
    (tmp_path / "parts" / "nodes.yaml").write_text(NODES)
    return tmp_path


def problems(path: Path) -> tuple[SpecProblem, ...]:
    with pytest.raises(SpecError) as caught:
        load_spec(path, environ={})
    return caught.value.problems


def test_files_are_merged_and_the_including_one_wins(folder: Path) -> None:
    spec = load_spec(folder / "main.yaml", environ={})
    assert spec.entry == "a" and spec.budget.tokens == 9
    assert list(spec.nodes) == ["a", "b", "c"]
    assert [(edge.source, edge.target) for edge in spec.edges] == [("a", "b"), ("b", "c")]


def test_problems_are_located_in_their_own_file(folder: Path) -> None:
    nodes = folder / "parts" / "nodes.yaml"
    nodes.write_text(NODES.replace("c: {", "c: {colour: red, "))
    (problem,) = problems(folder / "main.yaml")
    assert (problem.path, problem.where) == ("nodes.c.colour", Location(str(nodes), 5, 7))
    nodes.write_text(NODES.replace("to: c", "to: d"))
    (problem,) = problems(folder / "main.yaml")
    assert (problem.path, problem.where) == ("edges[1].to", Location(str(nodes), 7, 19))
    nodes.write_text(NODES.replace("from: b", "from: c").replace("to: c", "to: b"))
    (problem,) = problems(folder / "main.yaml")
    assert (problem.path, problem.where) == ("nodes.c", Location(str(nodes), 5, 3))


def test_a_name_defined_twice_names_both_places(folder: Path) -> None:
    (folder / "parts" / "nodes.yaml").write_text(NODES.replace("  c:", "  a:").replace("to: c", "to: a"))
    (problem,) = [p for p in problems(folder / "main.yaml") if "again" in p.found]
    assert str(problem.where).endswith("nodes.yaml:5:3") and "main.yaml:4:3" in problem.found


def test_a_cycle_of_includes_is_shown(folder: Path) -> None:
    (folder / "parts" / "nodes.yaml").write_text("include: [../main.yaml]\n" + NODES)
    (problem,) = problems(folder / "main.yaml")
    assert problem.where.line == 1 and "nodes.yaml -> " in problem.found
    (folder / "self.yaml").write_text("include: [self.yaml]\n" + NODES + WORKERS)
    assert "self.yaml -> " in problems(folder / "self.yaml")[0].found


def test_a_file_that_two_others_include_is_read_once(folder: Path) -> None:
    (folder / "parts" / "nodes.yaml").write_text("include: [workers.yaml]\n" + NODES)
    assert list(load_spec(folder / "main.yaml", environ={}).workers) == ["w"]


@pytest.mark.parametrize(
    ("include", "column", "part"),
    [
        ("[absent.yaml]", 11, "does not exist"), ("[parts]", 11, "a folder"), ("[3]", 11, "a file name"),
        ("x.yaml", 10, "a list of files"), ("[{a: b}]", 11, "a mapping"), ('["a\\0b"]', 11, "does not exist"),
        ('[""]', 11, "a file name"), ('["${UNSET}"]', 11, "UNSET"),
    ],
)  # fmt: skip
def test_bad_includes(folder: Path, include: str, column: int, part: str) -> None:
    (folder / "main.yaml").write_text(f"include: {include}\n" + NODES + WORKERS)
    assert any(
        part in str(p) and (p.where.line, p.where.column) == (1, column) for p in problems(folder / "main.yaml")
    ), list(map(str, problems(folder / "main.yaml")))


def test_a_broken_included_file_does_not_hide_other_problems(folder: Path) -> None:
    (folder / "parts" / "workers.yaml").write_text("workers: [")
    (folder / "main.yaml").write_text(MAIN.replace("kind: expert", "kind: expect"))
    files = [Path(problem.where.file).name for problem in problems(folder / "main.yaml")]
    assert files == ["main.yaml", "workers.yaml"]


def test_paths_count_from_the_included_file(folder: Path) -> None:
    (folder / "parts" / "answers.jsonl").touch()
    (folder / "parts" / "workers.yaml").write_text("workers: {w: {engine: recorded, file: answers.jsonl}}")
    spec = load_spec(folder / "main.yaml", environ={})
    assert spec.model_dump()["workers"]["w"]["file"] == folder / "parts" / "answers.jsonl"
