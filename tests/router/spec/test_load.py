"""Broken specs of every kind: each gives located problems, and a sound one gives a GraphSpec."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router.errors import SpecError, SpecProblem
from router.spec import ExpertNode, GraphSpec, load_spec, parse_spec

SOUND = """\
name: demo
entry: master
workers:
  router: {engine: scripted, rules: [{match: foo$, answer: <node_0>}], tokens: [<node_0>]}
  writer:
    engine: local
    model: owner/model
    adapters: {}
nodes:
  master: {kind: router, worker: router}
  math:
    kind: expert
    worker: writer
    temperature: 1e-1
  code: {kind: expert, worker: writer}
edges:
  - {from: master, to: math}
  - from: master
    to: code
    cost: 2
budget: {steps: 3}
"""


def problems(text: str, **environ: str) -> tuple[SpecProblem, ...]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "graph.yaml", environ=environ)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return caught.value.problems


def test_a_sound_spec_is_read() -> None:
    spec = parse_spec(SOUND, environ={})
    assert isinstance(spec, GraphSpec)
    assert list(spec.nodes) == ["master", "math", "code"]
    math = spec.nodes["math"]  # type: ignore[index]
    assert isinstance(math, ExpertNode) and math.temperature == 0.1
    assert [(edge.source, edge.target, spec.when(edge)) for edge in spec.edges] == [
        ("master", "math", "token"), ("master", "code", "token"),
    ]  # fmt: skip


BROKEN = [
    # (what, old text, new text, line, column, parts of the message)
    ("unknown key", "name: demo", "nme: demo", 1, 1, ("'nme'", "did you mean name?")),
    ("unknown key in a worker", "model: owner", "modle: x\n    model: owner", 7, 5, ("workers.writer.modle", "model?")),
    ("missing key", "entry: master\n", "", 1, 1, ("the key 'entry'", "add `entry:`")),
    ("missing key in a node", "    worker: writer\n    temp", "    temp", 11, 3,
     ("nodes.math.worker", "add `worker:`")),
    ("unknown kind", "kind: expert\n", "kind: exprt\n", 12, 11, ("router, token_pair, tool", "did you mean expert?")),
    ("no kind", "    kind: expert\n", "", 11, 3, ("`kind:`", "nodes.math")),
    ("unknown engine", "engine: local", "engine: ollama", 6, 13, ("local, recorded, scripted, vllm", "'ollama'")),
    ("no engine", "    engine: local\n", "", 5, 3, ("`engine:`", "workers.writer")),
    ("engine is a list", "engine: local", "engine: [local]", 6, 5, ("workers.writer.engine",)),
    ("node is nothing", "  math:\n", "  math:\n  other:\n", 11, 8, ("nodes.math", "nothing")),
    ("nodes is a list", "nodes:\n", "nodes: []\nx:\n", 9, 1, ("nodes", "a mapping", "a list")),
    ("wrong number", "temperature: 1e-1", "temperature: hot", 14, 18, ("a number", "'hot'")),
    ("negative", "temperature: 1e-1", "temperature: -1", 14, 18, ("not below 0", "-1")),
    ("boolean as number", "steps: 3", "steps: true", 21, 17, ("budget.steps", "found true")),
    ("yes is text", "steps: 3", "steps: yes", 21, 17, ("a whole number", "'yes'")),
    ("fraction", "steps: 3", "steps: 1.5", 21, 17, ("a whole number", "1.5")),
    ("infinity", "steps: 3", "seconds: .inf", 21, 19, ("finite", ".inf")),
    ("endless number", "steps: 3", "steps: 1" + "0" * 5000, 21, 17, ("at most 40 digits", "5001 digits")),
    ("number as text", "worker: writer\n", "worker: 7\n", 13, 13, ("text", "7", "in quotes")),
    ("text as mapping", "budget: {steps: 3}", "budget: much", 21, 9, ("a mapping", "'much'")),
    ("mapping as text", "name: demo", "name: {a: b}", 1, 1, ("text", "a mapping")),
    ("edges as mapping", "edges:\n", "edges:\n  a: b\nx:\n", 16, 1, ("edges", "a list", "a mapping")),
    ("bad name", "name: demo", "name: de mo", 1, 7, ("letters, digits, _ . and -", "'de mo'")),
    ("unknown when", "    cost: 2", "    when: allways", 20, 11, ("'allways'", "did you mean always?")),
    ("field name for alias", "  - from: master", "  - source: master", 18, 5, ("'source'",)),
    ("empty nodes", "nodes:\n", "nodes: {}\nx:\n", 9, 1, ("at least 1 entry at nodes, found none. Fix: add one under `nodes:`",)),
    ("version", "name: demo", "version: 2", 1, 10, ("expected 1", "found 2. Fix: write 1")),
    ("version as text", "name: demo", 'version: "1"', 1, 10, ("found '1'. Fix: remove the quotes",)),
    ("node name", "  code:", "  my code:", 15, 3, ("a name of letters, digits", "'my code'")),
    ("repeated key", "entry: master", "entry: master\nentry: math", 3, 1, ("'entry' again, first in line 2",)),
    ("repeated node", "  code:", "  math:", 15, 3, ("nodes.math", "first in line 11")),
    ("unset variable", "owner/model", "${MODEL}", 7, 12, ("the environment variable MODEL", "${MODEL:-default}")),
    ("open reference", "owner/model", '"${MODEL"', 7, 12, ("${NAME}", "close the brace")),
    ("merge key", "    engine: local", "    <<: {}\n    engine: local", 6, 5, ("merge keys are not supported",)),
    ("tag", "name: demo", "name: !!python/name:os.system demo", 1, 7, ("remove the tag",)),
    ("binary tag", "name: demo", "name: !!binary demo", 1, 7, ("remove the tag",)),
    ("unknown alias", "name: demo", "name: *demo", 1, 7, ("*demo", "define &demo")),
    ("alias of itself", "budget: {steps: 3}", "budget: &b {steps: *b}", 21, 20, ("complete before its alias",)),
    ("list as key", "name: demo", "? [a, b]\n: demo", 1, 3, ("a key of plain text",)),
    ("tab", "  math:", "\tmath:", 11, 1, ("valid YAML", "tab")),
    ("open quote", "name: demo", 'name: "demo', 22, 1, ("valid YAML", "quoted scalar")),
    ("reference in braces", "{from: master, to: math}", "{from: master, to: ${X}}", 17, 25, ("in quotes",)),
    ("second document", "budget:", "---\nbudget:", 21, 1, ("one document",)),
    ("control character", "name: demo", "name: de\x07mo", 1, 9, (r"'\x07'", "printable text")),
    ("unknown entry", "entry: master", "entry: mastr", 2, 8, ("did you mean master?",)),
    ("unknown target", "    to: code", "    to: coder", 19, 9, ("edges[1].to", "did you mean code?")),
    ("unknown source", "  - from: master", "  - from: x", 18, 11, ("edges[1].from", "master, math")),
    ("unknown worker", "worker: writer\n", "worker: riter\n", 13, 13, ("nodes.math.worker", "did you mean writer?")),
    ("unknown adapter", "    temp", "    adapter: a\n    temp", 14, 14, ("adapter of worker writer",)),
    ("node name", "  math:\n", "  __start__: {kind: expert, worker: writer}\n  math:\n", 11, 3, ("rename it",)),
    ("bad URL", "engine: local", "engine: vllm\n    url: 1.2.3.4:80", 7, 10, ("a URL", "http://HOST:PORT")),
    ("bad regex", "match: foo$", "match: '('", 4, 46, ("a regular expression", "unterminated subpattern")),
    ("bad device", "model: owner", "device: gpu\n    model: owner", 7, 13, ("did you mean cuda?",)),
    ("absent folder", "owner/model", "./absent", 7, 12, ("a model's folder", "absent", "does not exist")),
    ("absent adapter", "adapters: {}", "adapters: {a: ./absent}", 8, 19, ("a folder with a LoRA adapter",)),
    ("no model name", "owner/model", "a/b/c", 7, 12, ("a Hugging Face id", "'a/b/c'")),
    ("absent pocket model", "owner/model", "pocket:nobody", 7, 12, ("a model that ships with tokengraph",)),
    ("absent recording", "engine: local\n    model: owner/model\n    adapters: {}",
     "engine: recorded\n    file: no.jsonl", 7, 11,
     ("a file of recorded answers", "no.jsonl")),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "column", "parts"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_broken_spec_is_explained_in_its_place(
    old: str, new: str, line: int, column: int, parts: tuple[str, ...]
) -> None:
    assert old in SOUND
    found = problems(SOUND.replace(old, new, 1))
    at_place = [p for p in found if (p.where.line, p.where.column) == (line, column)]
    assert at_place, [str(problem) for problem in found]
    assert any(all(part in str(problem) for part in parts) for problem in at_place), list(map(str, at_place))
    assert all(problem.where.file == "graph.yaml" and problem.fix and problem.expected for problem in found)


def test_all_problems_come_at_once_and_in_file_order() -> None:
    text = SOUND.replace("name:", "nme:").replace("steps: 3", "steps: 0").replace("kind: expert\n", "kind: x\n")
    text = text.replace("owner/model", "${UNSET}")
    lines = [problem.where.line for problem in problems(text)]
    assert lines == [1, 7, 12, 21]


def test_one_wrong_value_is_one_problem_however_many_types_are_allowed() -> None:
    text = SOUND.replace("engine: local", "engine: vllm\n    arguments: {a: [1]}")
    (problem,) = problems(text)
    assert problem.expected == "text, a whole number, a number or true or false"


def test_what_follows_from_a_problem_is_not_reported_again() -> None:
    (problem,) = problems(SOUND.replace("steps: 3", 'steps: "${STEPS}"'))
    assert "STEPS" in problem.expected


@pytest.mark.parametrize("value", ["[sk-123]", "{a: sk-123}", '"${KEY}sk-123\\u0000"'])
def test_keys_are_not_shown(value: str) -> None:
    text = SOUND.replace("engine: local", f"engine: vllm\n    api_key: {value}\n    url: https//sk-123", 1)
    for problem in problems(text, KEY="sk-456"):
        assert "sk-" not in str(problem)


def test_a_value_from_the_environment_is_not_shown() -> None:
    (problem,) = problems(SOUND.replace("demo", "${NAME}"), NAME="very secret")
    assert "secret" not in str(problem) and "${NAME}" in problem.found


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n", "- a\n", "text\n", "3\n", "\ufeff"])
def test_a_root_that_is_no_mapping(text: str) -> None:
    (problem,) = problems(text)
    assert (problem.where.line, problem.where.column) == (1, 1)


def test_a_byte_order_mark_is_accepted() -> None:
    assert parse_spec("\ufeff" + SOUND, environ={}) == parse_spec(SOUND, environ={})


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_quickly(opening: str) -> None:
    assert any("levels" in p.expected or "YAML" in p.expected for p in problems("a: \n  " + opening * 50_000))


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "fewer aliases" in problems("\n".join(lines))[-1].fix


def test_an_alias_gives_an_equal_value_and_problems_where_the_text_stands() -> None:
    shared = SOUND.replace("math:\n", "math: &m\n").replace("{kind: expert, worker: writer}", "*m")
    spec = parse_spec(shared, environ={})
    assert spec.nodes["math"] == spec.nodes["code"]  # type: ignore[index]
    (problem,) = problems(shared.replace("temperature: 1e-1", "temperature: -1"))
    assert problem.where.line == 14


@pytest.mark.parametrize(
    ("content", "line", "column", "part"),
    [
        (b"\xff\xfe\x00", 1, 1, "UTF-8"),
        (b"a: b\nc: \xc3\xa9\xe9x", 2, 5, "the byte 0xe9"),
        (b"a: \x00b", 1, 4, "printable"),
        (b"\x89PNG\r\n", 1, 1, "UTF-8"),
        (b"a: " + b"x" * (1 << 20), 1, 1, "1 MiB"),
    ],
)
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes, line: int, column: int, part: str) -> None:
    file = tmp_path / "graph.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError, match=part) as caught:
        load_spec(file)
    (problem,) = caught.value.problems
    assert (problem.where.file, problem.where.line, problem.where.column) == (str(file), line, column)


@pytest.mark.parametrize("name", ["absent.yaml", ".", "x" * 5000, "a\0b", "absent/graph.yaml"])
def test_a_path_that_is_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"expected a (readable|YAML) file"):
        load_spec(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecError, match="no regular file"):
        load_spec(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text(SOUND)
    file.chmod(0)
    with pytest.raises(SpecError, match="permission denied"):
        load_spec(file)


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    model = tmp_path / "models" / "small"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "answers.jsonl").touch()
    text = SOUND.replace(
        "adapters: {}",
        "adapters: {a: adapter}\n    token_router: routers/r\n  old: {engine: recorded, file: answers.jsonl}",
    )
    text = text.replace("worker: router}", "worker: router, tokens: heads/t}")
    (tmp_path / "graph.yaml").write_text(text.replace("owner/model", "models/small"))
    spec = load_spec(tmp_path / "graph.yaml", environ={})
    dumped = spec.model_dump()
    assert dumped["workers"]["writer"]["model"] == str(model)
    assert dumped["workers"]["writer"]["adapters"] == {"a": tmp_path / "adapter"}
    assert dumped["workers"]["writer"]["token_router"] == str(tmp_path / "routers" / "r")
    assert dumped["workers"]["old"]["file"] == tmp_path / "answers.jsonl"
    assert dumped["nodes"]["master"]["tokens"] == tmp_path / "heads" / "t"


def test_every_path_of_the_models_is_made_absolute() -> None:
    """A new Path field must be added to the list in include.py, or relative paths in it would depend on the cwd."""
    from router.spec.include import _PATHS
    from router.spec.schema import json_schema

    schema = json_schema()
    found = set()
    tops = (
        ("workers", "*", "Worker"),
        ("nodes", "*", "Node"),
        ("tools", "*", "Tools"),
        ("tools", "*", "mcp", "Source"),
    )
    for *top, parts in tops:
        for name, part in schema["$defs"].items():
            if name.endswith(parts):
                for key, value in part["properties"].items():
                    if '"format": "path"' in str(value).replace("'", '"'):
                        many = value.get("type") in ("object", "array")
                        found.add((*top, key, "*") if many else (*top, key))
    assert found == set(_PATHS)


def test_tools_are_looked_for_beside_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "t.csv").write_text("a\n1\n")
    (tmp_path / "more" / "tools.yaml").write_text(
        'tools: [{function: "m:f"}, {mcp: {command: [s]}}, {builtin: sql, files: [t.csv]}, {mcp: {url: "http://h"}}]\n'
    )
    (tmp_path / "graph.yaml").write_text(
        "include: [more/tools.yaml]\nentry: t\nnodes: {t: {kind: tool, tool: f}}\n"
        'tools: [{function: "m:g"}, {function: "m:h", folder: code}]\n'
    )
    dumped = load_spec(tmp_path / "graph.yaml", environ={}).model_dump()["tools"]
    assert [tool.get("folder") for tool in dumped[:3]] == [tmp_path, tmp_path / "code", tmp_path / "more"]
    assert dumped[3]["mcp"]["folder"] == tmp_path / "more"
    assert dumped[4]["files"] == (tmp_path / "more" / "t.csv",)


@pytest.mark.parametrize("setting", ['answer_after: ""', 'stop: [""]', 'stop: [".", ""]'])
def test_an_empty_text_ends_nothing(setting: str) -> None:
    (problem,) = problems(SOUND.replace("temperature: 1e-1", setting))
    assert problem.where.line == 14
    assert "text of 1 or more characters" in str(problem)
