"""Writes questions for tools: ``python -m experts.pocket.tools.questions --split test --each 20 --out F.jsonl``.

One JSON object a line: ``query``; ``response``, the answer with its calls marked as ``<add>(2,3)=5``; ``answer``, what the
user should see; ``tool``, the first one called; ``task``. Rows of tool tokens are trained on the split ``train`` and
measured on ``test``: the two share neither problems nor templates.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from random import Random

from experts.pocket.domains.base import Split
from experts.pocket.tools.corpus import DOMAINS, ToolExample, draw_problem

NODES = {"arithmetic": "arithmetic", "units": "units", "dates": "calendar"}
"""The expert of each domain in graph_specs/pocket_tools.yaml."""


def questions(
    split: Split, each: int, *, domains: Collection[str] = tuple(DOMAINS), seed: int = 0, noise: float = 0.25
) -> list[ToolExample]:
    """``each`` examples of every tool of the domains; a tool of several tasks has as many of each, more or less.

    The first ``n`` of each tool are the same whatever ``each`` is.
    """
    found: list[ToolExample] = []
    for name in domains:
        streams: dict[str, list[Iterator[ToolExample]]] = {}
        for task in DOMAINS[name].tasks:
            tool = draw_problem(Random(0), DOMAINS[name], split, task=task).problem.tool
            streams.setdefault(tool, []).append(_endless(name, task.name, split, seed, noise))
        for of_tool in streams.values():
            found += [next(of_tool[number % len(of_tool)]) for number in range(each)]
    return found


def _endless(domain: str, name: str, split: Split, seed: int, noise: float) -> Iterator[ToolExample]:
    task = next(task for task in DOMAINS[domain].tasks if task.name == name)
    rng = Random(f"{domain}/{name}/{split}/{seed}")
    while True:
        yield draw_problem(rng, DOMAINS[domain], split, task=task, noise=noise)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write questions that tools answer, with their answers.")
    parser.add_argument("--split", choices=("train", "valid", "test"), required=True)
    parser.add_argument("--each", type=int, default=20, help="questions a tool, or a node")
    parser.add_argument("--domain", choices=tuple(DOMAINS), action="append", help="default: all")
    parser.add_argument("--nodes", action="store_true", help="for `tokengraph train functional-tokens`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.out.open("w", encoding="utf-8") as file:
        for domain in arguments.domain or tuple(DOMAINS):
            tools = len(questions(arguments.split, 1, domains=(domain,)))
            each = -(-arguments.each // tools) if arguments.nodes else arguments.each
            for example in questions(arguments.split, each, domains=(domain,), seed=arguments.seed):
                row = _route(example, domain) if arguments.nodes else _calls(example)
                file.write(json.dumps(row) + "\n")


def _route(example: ToolExample, domain: str) -> dict[str, str]:
    return {"query": example.question, "node": NODES[domain]}


def _calls(example: ToolExample) -> dict[str, str]:
    return {
        "query": example.question, "response": example.problem.marked, "answer": example.problem.answer,
        "tool": example.problem.tool, "task": example.task,
    }  # fmt: skip


if __name__ == "__main__":
    main()
