"""Whatever the input, a spec is either read or refused with located problems."""

from __future__ import annotations

import os
import random
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import SpecError
from router.graph import build_graph, mermaid, svg
from router.spec import parse_spec

SOUND = """\
version: 1
name: fuzz
entry: master
workers:
  m: &m {engine: scripted, rules: [{match: "a|b", answer: "<node_0>('x')<end>"}], tokens: [<node_0>, <node_1>]}
  big: {engine: vllm, model: owner/big, url: "http://${HOST:-localhost}:8000/v1", api_key: k, arguments: {a: true}}
  small: {engine: local, model: owner/small, dtype: float32, max_batch: 4, token_router: "pocket:x"}
tools:
  - {builtin: calculator}
  - {function: "package.module:search", side_effects: true}
  - {mcp: {command: [server], env: {A: b}}, only: [x], prefix: p_}
  - {mcp: {url: "http://h/mcp"}}
nodes:
  master: {kind: router, worker: m, fan_out: 2, examples: [a, b], threshold: 0.5}
  one: {kind: expert, worker: small, temperature: 0.5, stop: ["\\n"]}
  two: {kind: token_pair, small: small, large: big, max_large_share: 0.2, large_run: 2, threshold: 0.5}
  look: {kind: tool, tool: search}
  vote: {kind: join, method: best}
edges:
  - {from: master, to: one, token: <node_0>}
  - {from: master, to: two, token: <node_1>, cost: 1}
  - {from: one, to: look, when: low_confidence, below: 0.6}
  - {from: one, to: vote}
  - {from: two, to: vote}
  - {from: look, to: vote}
  - {from: vote, to: master, when: low_confidence, below: 0.2}
budget: {steps: 9, seconds: 2.5}
"""
_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
ENVIRON = {"HOST": "h", "EMPTY": ""}
NOISE = ["", "", "'", "\x00", "\u2028", *' \n:{]"&*!%@é0']
ODD = st.sampled_from(
    ["null", "~", "true", "-1", "1e400", ".nan", "[]", "{}", "''", "*m", "&m x", "!!str 1", "!x y", "${HOST}", "${",
     "$$", "<node_0>", "master", "一", '"\\0"', '"\\ud83d"', "|\n  x", "? a", "- b", "x: y", "#", "---", "...",
     "%YAML 1.1", "\t"]
)  # fmt: skip


def accepts_or_explains(text: str) -> None:
    try:
        spec = parse_spec(text, "f.yaml", environ=ENVIRON)
    except SpecError as error:
        assert error.problems
        lines = text.count("\n") + text.count("\r") + 2
        for problem in error.problems:
            assert problem.where.file == "f.yaml" and 1 <= problem.where.line <= lines and problem.where.column >= 1
            assert problem.expected and problem.found and problem.fix
            str(error).encode()
    else:
        graph = build_graph(spec)
        svg(graph), mermaid(graph)


def test_the_seed_is_sound() -> None:
    parse_spec(SOUND, environ=ENVIRON)


@settings(max_examples=_EXAMPLES, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_characters(seed: int, changes: int) -> None:
    draw = random.Random(seed)
    text = list(SOUND)
    for _ in range(changes):
        at = draw.randrange(len(text))
        text[at : at + draw.randrange(3)] = draw.choice(NOISE)
    accepts_or_explains("".join(text))


@settings(max_examples=_EXAMPLES, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_lines(seed: int, changes: int) -> None:
    draw = random.Random(seed)
    lines = SOUND.splitlines(keepends=True)
    for _ in range(changes):
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        match draw.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[other])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                lines[at] = " " * draw.randrange(5) + lines[at].lstrip()
    accepts_or_explains("".join(lines))


@settings(max_examples=_EXAMPLES, deadline=None)
@given(st.integers(0, 2**32), ODD)
def test_values(seed: int, value: str) -> None:
    draw = random.Random(seed)
    tokens = yaml.scan(SOUND)
    places = [(t.start_mark.index, t.end_mark.index) for t in tokens if isinstance(t, yaml.ScalarToken)]
    start, end = draw.choice(places)
    accepts_or_explains(SOUND[:start] + value + SOUND[end:])


_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
_keys = st.one_of(
    st.sampled_from(
        ["nodes", "edges", "workers", "entry", "budget", "include", "kind", "engine", "from", "to", "when"]
    ),
    st.text(max_size=5),
)
_data = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=5), max_leaves=20
)


@settings(max_examples=_EXAMPLES, deadline=None)
@given(st.dictionaries(_keys, _data, max_size=6))
def test_any_data(data: dict[str, Any]) -> None:
    data.pop("include", None)
    accepts_or_explains(yaml.safe_dump(data, allow_unicode=True))


@settings(max_examples=_EXAMPLES, deadline=None)
@given(st.integers(0, 2**32), _data)
def test_any_data_in_place_of_a_part(seed: int, part: Any) -> None:
    draw = random.Random(seed)
    data = yaml.safe_load(SOUND)
    here: Any = data
    while True:
        key = draw.choice(list(here)) if isinstance(here, dict) else draw.randrange(len(here))
        if not here[key] or not isinstance(here[key], (dict, list)) or draw.random() < 0.4:
            here[key] = part
            break
        here = here[key]
    accepts_or_explains(yaml.safe_dump(data, allow_unicode=True))


@settings(max_examples=_EXAMPLES, deadline=None)
@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    accepts_or_explains(text)
