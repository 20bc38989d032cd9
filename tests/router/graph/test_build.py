"""From a spec to a graph, and what its paths cost."""

from __future__ import annotations

import math
import subprocess
import sys

from router.graph import build_graph, cheapest_costs, steps_needed, worst_costs
from router.spec import parse_spec

SPEC = """\
entry: r
workers:
  w: {engine: scripted, rules: [{answer: hi}]}
nodes:
  r: {kind: router, worker: w}
  b: {kind: expert, worker: w}
  a: {kind: expert, worker: w}
  z: {kind: expert, worker: w}
edges:
  - {from: r, to: b, cost: 5}
  - {from: r, to: a, token: <x>, cost: 1}
  - {from: r, to: b, when: fallback, cost: 9}
  - {from: a, to: b, when: error, cost: 2}
  - {from: b, to: z, when: low_confidence, below: 0.5}
budget: {steps: 5}
"""


def test_nodes_and_edges_keep_their_specs_and_order() -> None:
    spec = parse_spec(SPEC, environ={})
    graph = build_graph(spec)
    assert list(graph) == ["r", "b", "a", "z"] and graph.graph["entry"] == "r" and graph.graph["spec"] is spec
    assert graph.nodes["a"]["spec"] is spec.nodes["a"]
    assert list(graph.edges) == [("r", "b"), ("r", "a"), ("b", "z"), ("a", "b")]
    assert graph.edges["r", "a"] == {
        "edges": (spec.edges[1],), "when": "token", "token": "<x>", "below": None, "cost": 1
    }  # fmt: skip
    assert graph.edges["r", "b"]["edges"] == (spec.edges[0], spec.edges[2])
    assert graph.edges["r", "b"]["cost"] == 5
    assert (graph.edges["b", "z"]["when"], graph.edges["b", "z"]["below"]) == ("low_confidence", 0.5)


def test_costs_and_steps() -> None:
    graph = build_graph(parse_spec(SPEC, environ={}))
    assert steps_needed(graph) == {"r": 1, "b": 2, "a": 2, "z": 3}
    assert cheapest_costs(graph) == {"r": 0, "a": 1, "b": 3, "z": 3}
    assert worst_costs(graph) == {"r": 0, "a": 1, "b": 9, "z": 9}


def test_a_cycle_that_costs_is_unbounded_from_there_on() -> None:
    back = "  - {from: b, to: a, when: error, cost: COST}\nbudget"
    graph = build_graph(parse_spec(SPEC.replace("budget", back.replace("COST", "1")), environ={}))
    assert worst_costs(graph) == {"r": 0, "a": math.inf, "b": math.inf, "z": math.inf}
    free = SPEC.replace("budget", back.replace("COST", "0")).replace("cost: 2", "cost: 0")
    assert worst_costs(build_graph(parse_spec(free, environ={}))) == {"r": 0, "a": 9, "b": 9, "z": 9}


def test_imports_are_light() -> None:
    heavy = "{'torch', 'networkx', 'rich', 'numpy', 'langgraph'}"
    code = f"import sys, router.spec, router.graph; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
