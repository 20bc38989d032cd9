"""A tiny random model whose tool tokens were trained on a few sentences: its words are noise, its calls are due."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from experts.engines.config import LocalWorker
from router.functional.progress import Progress
from router.tools.base import Tool
from router.tools.builtins.catalogue import load_builtin
from router.tools.tokens.examples import MarkedCall, MarkedExample
from router.tools.tokens.file import ToolTrainingReport
from router.tools.tokens.train import train_tool_tokens
from tests.experts.engines.checkpoints import save_checkpoint

NAMES = ("add", "multiply", "calculator")
QUESTIONS = {
    "add": ("sum of {a} and {b}", "{a} more than {b}", "{a} plus {b}"),
    "multiply": ("{a} times {b}", "product of {a} and {b}", "{a} by {b}"),
    "calculator": ("work out {a}-{b}", "evaluate {a}-{b}", "compute {a}-{b}"),
}
OPENINGS = ("", "please: ", "now ", "quick, ", "tell me ", "say ", "ok, ", "and ")


def example(tool: str, question: str, numbers: tuple[int, int]) -> MarkedExample:
    a, b = numbers
    arguments = f"({a}-{b})" if tool == "calculator" else f"({a},{b})"
    return MarkedExample(question.format(a=a, b=b), (MarkedCall(tool, arguments, str(a + b)), "."))


def examples() -> list[MarkedExample]:
    random = Random(0)
    return [
        example(tool, opening + question, (random.randint(2, 9), random.randint(2, 9)))
        for tool, questions in QUESTIONS.items() for question in questions for opening in OPENINGS
    ]  # fmt: skip


@dataclass(frozen=True)
class Trained:
    base: Path
    folder: Path
    tools: list[Tool]
    report: ToolTrainingReport
    heard: list[Progress]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Input and output embeddings of the base are tied, so those of the result cannot be."""
    root = tmp_path_factory.mktemp("tool_tokens")
    base = save_checkpoint(root / "base", "qwen3", hidden_size=64)
    tools = {tool.name: tool for name in ("arithmetic", "calculator") for tool in load_builtin(name)}
    chosen: list[Tool] = [tools[name] for name in NAMES]
    heard: list[Progress] = []
    worker, out = LocalWorker(model=str(base)), root / "tokens"
    report = asyncio.run(train_tool_tokens(worker, chosen, examples(), out, progress=heard.append))
    return Trained(base, out, chosen, report, heard)
