"""What fits together, and what does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from router.errors import GraphError, SpecError, SpecProblem
from router.graph import build_graph
from router.spec import GraphSpec, load_spec, parse_spec

HEAD = """\
entry: {entry}
workers:
  w: {{engine: scripted, rules: [{{answer: hi}}]}}
  v: {{engine: scripted, rules: [{{answer: hi}}]}}
  e: {{engine: local, model: owner/embedder, task: embed}}
  q: {{engine: local, model: owner/small, token_router: ./router}}
tools: [{{builtin: calculator}}]
nodes:
"""
NODES = {
    "r": "{kind: router, worker: w}",
    "a": "{kind: expert, worker: w}",
    "b": "{kind: expert, worker: w}",
    "t": "{kind: tool, tool: calculator}",
    "p": "{kind: token_pair, small: q, large: v}",
    "j": "{kind: join}",
}


def graph(edges: list[str], entry: str = "", more: str = "", **nodes: str) -> str:
    """A spec of ``edges`` such as "a > b, when: error" with the nodes in them."""
    pairs = [edge.partition(",")[0].split(" > ") for edge in edges]
    names = dict.fromkeys([entry or pairs[0][0], *(name for pair in pairs for name in pair), *nodes])
    text = HEAD.format(entry=entry or pairs[0][0]) + "".join(f"  {n}: {nodes.get(n) or NODES[n]}\n" for n in names)
    text += "edges:\n" if edges else ""
    for (source, target), edge in zip(pairs, edges, strict=True):
        text += f"  - {{from: {source}, to: {target}{edge.removeprefix(f'{source} > {target}')}}}\n"
    return text + more


def problems(text: str) -> tuple[SpecProblem, ...]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, environ={})
    return caught.value.problems


STEPS = "budget: {steps: 9}\n"


@pytest.mark.parametrize(
    "text",
    [
        graph([], entry="a"),
        graph(["r > a", "r > b", "r > b, when: fallback"]),
        graph(["r > a", "a > b, when: low_confidence, below: 0.5", "a > b, when: error"]),
        graph(["r > a", "r > b", "a > j", "b > j"], r="{kind: router, worker: w, fan_out: 2}"),
        graph(["a > b", "a > t", "b > j", "t > j"]),
        graph(["r > a", "r > a, token: <n>"]),
        graph(["r > a", "a > r, when: token, token: <n>"], more=STEPS),
        graph(["a > a, when: low_confidence, below: 0.5"], more=STEPS),
        graph(["r > a", "r > r"], more=STEPS),
        graph(["r > a"], r="{kind: router, worker: e}"),
        graph(["r > p", "p > t", "t > a, when: error"], more="budget: {steps: 2}\n"),
    ],
)
def test_sound_graphs(text: str) -> None:
    build_graph(parse_spec(text, environ={}))


WRONG = [
    ("unreachable", graph(["r > a"], b=NODES["b"]), "nodes.b", ("a way from r", "none to b")),
    ("join without branches", graph(["r > a"], j="{kind: join}"), "nodes.j", ("no edge to j",)),
    ("join as entry", graph(["j > a", "a > j, when: error"], more=STEPS), "entry", ("a join",)),
    ("router without edges", graph(["a > r"]), "nodes.r", ("token edges out of a router",)),
    ("router without token edges", graph(["r > a, when: fallback"]), "nodes.r", ("token edges", "from: r")),
    ("router to itself", graph(["r > r", "r > a, when: fallback"], more=STEPS), "nodes.r", ("itself alone",)),
    ("too much fan-out", graph(["r > a"], r="{kind: router, worker: w, fan_out: 2}"), "nodes.r.fan_out",
     ("2", "has 1")),
    ("fan-out without join", graph(["r > a", "r > b", "a > j"], r="{kind: router, worker: w, fan_out: 2}"), "edges[1]",
     ("a join after the branches of r", "r -> b")),
    ("branches without join", graph(["a > b", "a > t"]), "edges[0]", ("a join", "a -> b")),
    ("cycle without budget", graph(["a > b", "b > a, when: error"]), "edges[1]", ("a -> b -> a", "budget: {steps: 8}")),
    ("cycle without end", graph(["a > b", "b > a"], more=STEPS), "edges[1]",
     ("a -> b -> a", "give one of these edges")),
    ("one token twice", graph(["r > a, token: <x>", "r > b, token: <x>"]), "edges[1].token",
     ("'<x>' also on edges[0]",)),
    ("bad token", graph(["r > a, token: x"]), "edges[0].token", ("of the form <name>", "write <x>")),
    ("bad token with a space", graph(["r > a, token: <x y>"]), "edges[0].token", ("'<x y>'",)),
    ("bad scripted token", graph(["r > a"]).replace("hi}]}", "hi}], tokens: [<a>, b]}", 1), "workers.w.tokens[1]",
     ("<b>",)),
    ("duplicate edge", graph(["a > b, cost: 1", "a > b"]), "edges[1]", ("one edge for each case", "edges[0]")),
    ("two fallbacks", graph(["r > a", "r > a, when: fallback", "r > b, when: fallback"]), "edges[2].when",
     ("one fallback edge out of r",)),
    ("below alone", graph(["a > b, below: 0.5"]), "edges[0].below", ("`when: always`", "add `when: low_confidence`")),
    ("low confidence alone", graph(["a > b, when: low_confidence"]), "edges[0].when", ("add `below:",)),
    ("token on another edge", graph(["a > b, token: <x>"]), "edges[0].token", ("only with `when: token`", "always")),
    ("token out of a tool", graph(["t > a, when: token"]), "edges[0].when", ("t, a tool",)),
    ("confidence of a router", graph(["r > a", "r > b, when: low_confidence, below: 0.1"]), "edges[1].when",
     ("r, a router", "when: fallback")),
    ("expert that embeds", graph(["r > a"], a="{kind: expert, worker: e}"), "nodes.a.worker",
     ("e, whose task is embed",)),
    ("pair that embeds", graph(["r > p"], p="{kind: token_pair, small: q, large: e}"), "nodes.p.large", ("embed",)),
    ("pair of one", graph(["r > p"], p="{kind: token_pair, small: q, large: q}"), "nodes.p.large",
     ("the same worker q",)),
    ("pair without a token router", graph(["r > p"], p="{kind: token_pair, small: w, large: v}"), "nodes.p.small",
     ("a worker with a token_router", "add `token_router:` to the worker w")),
    ("prompt for an encoder", graph(["r > a"], r="{kind: router, worker: e, system: x}"), "nodes.r.system",
     ("remove it",)),
    ("too few steps", graph(["r > a"], more="budget: {steps: 1}"), "budget.steps", ("at least 2", "write 2 or more")),
    ("too little money", graph(["r > a, cost: 3", "r > b, cost: 2"], more="budget: {cost: 1}"), "budget.cost",
     ("at least 2",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "parts"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_does_not_fit_is_one_problem(text: str, path: str, parts: tuple[str, ...]) -> None:
    (problem,) = problems(text)
    assert problem.path == path
    assert all(part in str(problem) for part in parts), str(problem)


def test_the_place_of_a_cycle_is_the_edge_that_closes_it() -> None:
    text = graph(["a > b", "b > p, when: error", "p > b, when: error"])
    (problem,) = problems(text)
    assert text.splitlines()[problem.where.line - 1].strip().startswith("- {from: p, to: b")


def test_a_spec_made_in_python_is_checked_by_build_graph() -> None:
    worker = {"engine": "scripted", "rules": [{"answer": "hi"}]}
    node = {"kind": "expert", "worker": "W"}
    spec = GraphSpec.model_validate({"entry": "b", "workers": {"w": worker}, "nodes": {"a": node}})
    with pytest.raises(GraphError, match=r"entry: expected a node, found 'b'(.|\n)*nodes.a.worker: .*did you mean w\?"):
        build_graph(spec)


def tokenizer(folder: Path, vocabulary: object, added: dict[str, int]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    tokens = [{"content": content, "id": number} for content, number in added.items()]
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": tokens}))


def pair(folder: Path) -> Path:
    text = graph(["r > p"], p="{kind: token_pair, small: s, large: l}")
    text = text.replace(
        "workers:\n",
        "workers:\n  s: {engine: local, model: ./s, token_router: ./router}\n  l: {engine: local, model: ./l}\n",
    )
    (folder / "graph.yaml").write_text(text)
    return folder / "graph.yaml"


def test_a_pair_needs_one_tokenizer(tmp_path: Path) -> None:
    tokenizer(tmp_path / "s", {"a": 0, "b": 1, "c": 2}, {"<end>": 3})
    tokenizer(tmp_path / "l", [["a", -1.0], ["b", -2.0], ["c", -3.0]], {"<end>": 3})
    load_spec(pair(tmp_path))


@pytest.mark.parametrize(
    ("vocabulary", "added", "found"),
    [
        ({"a": 0, "b": 2, "c": 1}, {"<end>": 3}, "'b' (id 1 in the small one, id 2 in the large one)"),
        ({"a": 0, "b": 1, "c": 2}, {"<stop>": 3}, "'<end>' (id 3 in the small one, none in the large one)"),
        ({"a": 0, "b": 1, "c": 2, "d": 4}, {"<end>": 3}, "'d' (none in the small one, id 4 in the large one)"),
    ],
)
def test_the_first_difference_of_two_tokenizers_is_shown(
    tmp_path: Path, vocabulary: object, added: dict[str, int], found: str
) -> None:
    tokenizer(tmp_path / "s", {"a": 0, "b": 1, "c": 2}, {"<end>": 3})
    tokenizer(tmp_path / "l", vocabulary, added)
    with pytest.raises(SpecError) as caught:
        load_spec(pair(tmp_path))
    (problem,) = caught.value.problems
    assert problem.path == "nodes.p.large" and found in problem.found


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"model": {"vocab": 3}}', "[" * 100_000, '{"model": {"vocab": [3]}}']
)
def test_a_damaged_tokenizer_is_a_problem(tmp_path: Path, content: str) -> None:
    tokenizer(tmp_path / "s", {"a": 0}, {})
    tokenizer(tmp_path / "l", {"a": 0}, {})
    (tmp_path / "l" / "tokenizer.json").write_text(content)
    with pytest.raises(SpecError, match="expected a readable"):
        load_spec(pair(tmp_path))


def test_a_model_on_another_machine_is_not_looked_for() -> None:
    text = graph([], entry="a").replace("engine: scripted, rules: [{answer: hi}]", "engine: vllm, model: /there", 1)
    assert "which does not exist" in problems(text)[0].found
    parse_spec(text.replace("model: /there", "model: /there, url: 'http://there:8000/v1'"), environ={})


TOOLS = "entry: t\nnodes:\n  t: {{kind: tool, tool: {name}}}\ntools:\n{tools}"


@pytest.mark.parametrize(
    ("name", "source", "path", "line", "said"),
    [
        ("calculatr", "builtin: calculator", "nodes.t.tool", 3, "did you mean calculator?"),
        ("add", "builtin: arithmtic", "tools[0].builtin", 5, "did you mean arithmetic?"),
        ("sql", "builtin: sql, file: [a.csv]", "tools[0].file", 5, "did you mean files?"),
        ("sql", "builtin: sql", "tools[0].builtin", 5, "add `files:"),
        ("sql", "builtin: sql, files: [a.csv, nowhere.csv]", "tools[0].files[1]", 5, "correct the path"),
        ("add", "builtin: arithmetic, rows: 3", "tools[0].rows", 5, "remove it"),
        ("f", 'function: "m.f"', "tools[0].function", 5, "package.module:function"),
        ("f", 'function: "m:f", secnods: 3', "tools[0].secnods", 5, "did you mean seconds?"),
        ("f", 'function: "m:f", name: g', "nodes.t.tool", 3, "name one of g"),
        ("f", "mcp: {comand: [x]}", "tools[0].mcp.comand", 5, "did you mean command?"),
        ("f", "mcp: {}", "tools[0].mcp", 5, "either command or url"),
        ("p_serch", "mcp: {url: u}, only: [search], prefix: p_", "nodes.t.tool", 3, "did you mean p_search?"),
        ("f", "tool: f", "tools[0]", 5, "builtin, function, mcp"),
    ],
)
def test_tools_that_do_not_fit(
    tmp_path: Path, name: str, source: str, path: str, line: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    found = problems(TOOLS.format(name=name, tools=f"  - {{{source}}}\n"))
    assert any(p.path == path and p.where.line == line and said in f"{p.expected} {p.fix}" for p in found), found


def test_two_tools_of_one_name() -> None:
    (problem,) = problems(TOOLS.format(name="add", tools='  - {builtin: arithmetic}\n  - {function: "m:add"}\n'))
    assert (problem.path, problem.where.line) == ("tools[1]", 6)
    parse_spec(TOOLS.format(name="plus", tools='  - {builtin: arithmetic}\n  - {function: "m:add", name: plus}\n'))


def test_what_a_server_has_only_it_knows() -> None:
    parse_spec(TOOLS.format(name="whatever", tools='  - {mcp: {url: "http://h/mcp"}}\n'), environ={})


def test_functions_are_imported_where_the_check_is_thorough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "ends_the_process.py").write_text("import sys\nsys.exit(3)\n")
    spec = tmp_path / "graph.yaml"
    spec.write_text('entry: t\ntools:\n  - {function: "ends_the_process:f"}\nnodes:\n  t: {kind: tool, tool: f}\n')
    load_spec(spec)
    with pytest.raises(SpecError, match=r"graph.yaml:3:16: .*\(SystemExit: 3, .*ends_the_process.py:2\)"):
        load_spec(spec, thorough=True)


@pytest.mark.parametrize(
    ("query", "fix"), [("x {anwser} {", "did you mean answer?"), ("x {foo}", "or { foo } if this is meant literally")]
)
def test_a_query_with_a_field_that_there_is_not(query: str, fix: str) -> None:
    (problem,) = problems(graph([f"a > b, query: '{query}'"]))
    assert (problem.path, problem.where.line) == ("edges[0].query", 12)
    assert fix in problem.fix


@pytest.mark.parametrize("rule", [r"answer: '\g<7>'", r"match: '(.)', after: x, answer: '\1'", r"answer: '\g<name>'"])
def test_an_answer_with_a_group_that_there_is_not(rule: str) -> None:
    (problem,) = problems(graph([], entry="a").replace("rules: [{answer: hi}]", f"rules: [{{{rule}}}]", 1))
    assert (problem.path, problem.where.line) == ("workers.w.rules[0].answer", 3)
    assert "groups of" in problem.expected
