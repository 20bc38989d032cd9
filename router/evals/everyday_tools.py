"""Free everyday questions for tools, by a writer who never saw the templates: a table for the scores of the pocket model
that uses tools.

The files hold each question with the call that answers it; what the call gives is worked out when the questions are asked.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from router.evals.pocket import percent
from router.evals.report import Table
from router.evals.tool_calls import builtin_tools, first_call
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.tools.call import ToolCaller
from router.tools.registry import Registry

FOLDER = Path(__file__).parent / "data"
SETS = ("everyday_tools_dev", "everyday_tools_test")
_MEASURED = frozenset({"convert_unit", "days_between"})


@dataclass(frozen=True)
class Asked:
    """A question, the tool that it is for, and what the right call gives."""

    query: str
    tool: str
    result: str

    def is_answered_by(self, answer: str) -> bool:
        """Whether an answer is the result and nothing else, but for the unit of one that has a unit."""
        found, *unit = answer.split(" ")
        return found == self.result and len(unit) <= (self.tool in _MEASURED)


async def everyday_questions(name: str) -> list[Asked]:
    """The questions of a set, answered by the calls beside them."""
    caller = ToolCaller(Registry(builtin_tools()))
    lines = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    try:
        results = [await caller.call(line["tool"], line["arguments"], raises=True) for line in lines]
    finally:
        await caller.aclose()
    return [Asked(line["query"], line["tool"], result.text) for line, result in zip(lines, results, strict=True)]


async def everyday_table(router: Router) -> Table:
    """How often the whole graph answers them, by tool and set."""
    shares: dict[str, list[tuple[float, float]]] = {}
    for name in SETS:
        asked = await everyday_questions(name)
        results = await router.abatch([question.query for question in asked], concurrency=4)
        scores = [
            (
                isinstance(result, RunResult) and question.is_answered_by(result.answer),
                first_call(result) == question.tool,
            )
            for question, result in zip(asked, results, strict=True)
        ]
        for tool in (*dict.fromkeys(question.tool for question in asked), "all"):
            own = [score for question, score in zip(asked, scores, strict=True) if tool in (question.tool, "all")]
            answers, choices = zip(*own, strict=True)
            shares.setdefault(tool, []).append((percent(answers), percent(choices)))
    rows: list[tuple[str | float, ...]] = [(tool, *itertools.chain(*pairs)) for tool, pairs in shares.items()]
    return Table(
        "Free everyday questions, percent",
        ("tool", "dev: answers", "dev: right tool first", "test: answers", "test: right tool first"),
        tuple(rows),
        "The whole graph, ten questions a tool and set. An answer is right if it is nothing but the exact result.",
    )
