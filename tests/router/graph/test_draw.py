"""Drawings: complete, escaped, and without overlaps."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from router.graph import build_graph, mermaid, svg, tree
from router.graph.build import Graph
from router.graph.layout import Box, Size, layered
from router.spec import GraphSpec, parse_spec

SPEC = """\
name: drawn
entry: master
workers:
  w: {engine: local, model: pocket:master, token_router: ./router}
  v: {engine: scripted, rules: [{answer: hi}]}
tools: [{function: "package.module:search"}]
nodes:
  master: {kind: router, worker: w, fan_out: 2, description: "a < b & \\"c\\" \\u0001"}
  end: {kind: token_pair, small: w, large: v, max_large_share: 0.15}
  日本語: {kind: expert, worker: w}
  look: {kind: tool, tool: search}
  vote: {kind: join}
edges:
  - {from: master, to: end, token: "<node_0>"}
  - {from: master, to: 日本語, token: '<"]&|x>'}
  - {from: end, to: vote}
  - {from: 日本語, to: vote}
  - {from: vote, to: look, when: error, cost: 2}
  - {from: vote, to: master, when: low_confidence, below: 0.25}
  - {from: vote, to: vote, when: fallback}
budget: {steps: 9}
"""
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def graph() -> Graph:
    return build_graph(parse_spec(SPEC, environ={}))


def test_tree_shows_every_node_and_condition_once_unfolded(graph: Graph) -> None:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(tree(graph))
    text = capture.get()
    assert text.splitlines()[0].startswith("master router w")
    for part in (
        "<node_0> end token_pair w / v, at most 15% by v",
        "below 0.25 master router w (see above)",
        "error, cost 2 look tool",
    ):
        assert part in text
    assert text.count("look tool") == 1


def test_mermaid_escapes_what_it_could_take_for_syntax(graph: Graph) -> None:
    text = mermaid(graph)
    lines = text.splitlines()
    assert lines[0] == "flowchart LR"
    assert '    n1[["end<br/><small>w / v, at most 15#37; by v</small>"]]' in lines  # "end" alone would be a keyword
    assert '    n0 -->|"#60;node_0#62;"| n1' in lines
    assert '    n0 -->|"#60;#34;#93;#38;#124;x#62;"| n2' in lines
    assert '    n4 -.->|"error, cost 2"| n3' in lines
    assert len([line for line in lines if "-->" in line or "-.->" in line]) == 7


def test_svg_is_xml_with_every_node_label_and_a_legend(graph: Graph) -> None:
    root = ET.fromstring(svg(graph))
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    for part in (
        "master",
        "end",
        "日本語",
        "look",
        "vote",
        "<node_0>",
        '<"]&|x>',
        "below 0.25",
        "error, cost 2",
        "fallback",
    ):
        assert part in texts
    assert {"router", "token pair", "expert", "tool", "join", "chosen by a token", "on error"} <= set(texts)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for x, y in re.findall(r"M([-\d.]+) ([-\d.]+)", svg(graph)):
        assert -50 <= float(x) <= width and -50 <= float(y) <= height


def test_an_arrow_ends_at_each_target(graph: Graph) -> None:
    paths = [p for p in ET.fromstring(svg(graph)).iter(f"{SVG}path") if (p.get("class") or "").startswith("edge")]
    arrows = [p for p in paths if p.get("marker-end") or p.get("marker-start")]
    assert len(arrows) == len(paths) == 7 + 1 + 5  # edges, the way in, the legend's five conditions
    assert sum(p.get("marker-start") is not None for p in paths) == 1  # only the edge of low confidence leads back


def overlap(one: Box, other: Box) -> bool:
    return (
        abs(one.x - other.x) < (one.width + other.width) / 2 - 1e-6
        and abs(one.y - other.y) < (one.height + other.height) / 2 - 1e-6
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 24), st.integers(0, 40), st.integers(0, 2**32))
def test_nothing_overlaps(count: int, links: int, seed: int) -> None:
    draw = random.Random(seed)
    names = [f"n{index}" for index in range(count)]
    nodes = {name: Size(draw.uniform(20, 200), 44) for name in names}
    edges = []
    for _ in range(links if count > 1 else 0):
        source, target = draw.sample(names, 2)
        edges.append((source, target, draw.choice([Size(0, 4), Size(draw.uniform(10, 150), 20)])))
    layout = layered(nodes, edges)
    labels = [route.label for route, (_, _, size) in zip(layout.routes, edges, strict=True) if size.width]
    assert list(layout.boxes) == names and len(layout.routes) == len(edges)
    for one, other in combinations([*layout.boxes.values(), *labels], 2):
        assert not overlap(one, other)
    for box in layout.boxes.values():
        assert box.width / 2 <= box.x <= layout.width and box.height / 2 <= box.y + 1e-6 <= layout.height
    for route, (source, target, _) in zip(layout.routes, edges, strict=True):
        left, right = (target, source) if route.backwards else (source, target)
        assert route.pieces[0][2] == layout.boxes[left].y and route.pieces[-1][2] == layout.boxes[right].y
        flat = [x for start, end, _ in route.pieces for x in (start, end)]
        assert flat == sorted(flat)
        for start, end, y in route.pieces[1:-1]:  # no line runs through a node
            line = Box((start + end) / 2, y, end - start, 1)
            assert not any(overlap(line, box) for box in layout.boxes.values())


def test_a_large_graph_is_drawn_in_the_order_of_the_spec() -> None:
    nodes = {f"e{index}": {"kind": "expert", "worker": "w", "description": "d"} for index in range(17)}
    spec = GraphSpec.model_validate({
        "entry": "m", "workers": {"w": {"engine": "scripted", "rules": [{}]}},
        "nodes": {"m": {"kind": "router", "worker": "w"}, **nodes},
        "edges": [{"from": "m", "to": name, "token": f"<{name}>"} for name in nodes]
        + [{"from": "m", "to": "e4", "when": "fallback"}],
    })  # fmt: skip
    shown = [e.text for e in ET.fromstring(svg(build_graph(spec))).iter(f"{SVG}text") if (e.text or "").startswith("<")]
    assert shown == [f"<e{index}>" for index in range(17)]
    labels = re.findall(r'class="label" x="[\d.]+" y="([\d.]+)">&lt;', svg(build_graph(spec)))
    assert [float(y) for y in labels] == sorted(float(y) for y in labels)
