"""Free everyday questions for tools, by a writer who never saw the templates: a table for the scores of the pocket model
that uses tools.

The files hold each question with the call that answers it; what the call gives is worked out when the questions are asked.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from router.evals.pocket import percent
from router.evals.report import Table
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.tools.builtins.catalogue import load_builtin
from router.tools.call import ToolCaller
from router.tools.registry import Registry
from router.trace import Answered

SETS = ("everyday_tools_dev", "everyday_tools_test")
FOLDER = Path(__file__).parent / "data"
_TEXTS = frozenset({"calculator", "convert_unit", "days_between", "weekday", "add_to_date"})


@dataclass(frozen=True)
class Asked:
    """A question, the tool that it is for, and the first word of its answer."""

    query: str
    tool: str
    answer: str


async def everyday_questions(name: str) -> list[Asked]:
    """The questions of a set, answered by the calls beside them."""
    tools = [tool for builtin in ("arithmetic", "calculator", "units", "dates") for tool in load_builtin(builtin)]
    caller = ToolCaller(Registry(tools))
    lines = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    try:
        results = [
            await caller.call(line["tool"], _call(line["tool"], line["arguments"]), raises=True) for line in lines
        ]
    finally:
        await caller.aclose()
    return [
        Asked(line["query"], line["tool"], _first(result.text)) for line, result in zip(lines, results, strict=True)
    ]


async def everyday_table(router: Router) -> Table:
    """How often the whole graph answers them, by tool and set."""
    shares: dict[str, list[tuple[float, float]]] = {}
    for name in SETS:
        asked = await everyday_questions(name)
        results = await router.abatch([question.query for question in asked], concurrency=4)
        scores = [_score(question, result) for question, result in zip(asked, results, strict=True)]
        for tool in (*dict.fromkeys(question.tool for question in asked), "all"):
            own = [s for question, s in zip(asked, scores, strict=True) if tool in (question.tool, "all")]
            answers, choices = zip(*own, strict=True)
            shares.setdefault(tool, []).append((percent(answers), percent(choices)))
    rows: list[tuple[str | float, ...]] = [(tool, *itertools.chain(*pairs)) for tool, pairs in shares.items()]
    return Table(
        "Free everyday questions, percent",
        ("tool", "dev: answers", "dev: right tool first", "test: answers", "test: right tool first"),
        tuple(rows),
        "The whole graph, ten questions a tool and set. Nobody looked at the test set while the models were made.",
    )


def _call(tool: str, arguments: Sequence[str]) -> str:
    """The call as a model writes it."""
    if tool == "add_to_date":
        day, number, unit = arguments
        return f'("{day}",{unit}={number})'
    values = [
        a if tool not in _TEXTS or (tool == "convert_unit" and not n) else f'"{a}"' for n, a in enumerate(arguments)
    ]
    return f"({','.join(values)})"


def _score(asked: Asked, result: object) -> tuple[bool, bool]:
    """Whether the answer is right, and whether the right tool was called first."""
    if not isinstance(result, RunResult):
        return False, False
    calls = [call.tool for event in result.events if isinstance(event, Answered) for call in event.calls]
    return _first(result.answer) == asked.answer, calls[:1] == [asked.tool]


def _first(text: str) -> str:
    return text.split(" ", 1)[0]
