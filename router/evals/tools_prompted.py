"""What a decoder does without tool tokens: it answers by itself, or reads in its prompt what tools there are and names one.

Where descriptions do not fit the model's context beside the question, tools are offered by their names alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, Message
from router.tools.base import Tool
from router.tools.tokens.examples import MarkedExample

_ANSWER_TOKENS, _NAME_TOKENS = 64, 16
_SPECIAL_TOKENS = 16  # of the chat template, at most
_NEAR = 1e-3  # a number is right if it differs by so much of the result, as in ToolkenGPT
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Prompted:
    """Percentages of the questions.

    Attributes:
        answered: answered right without tools.
        named: the right tool named, descriptions or names in the prompt.
        read: their prompts had the descriptions.
    """

    answered: float
    named: float
    read: float


async def prompted(engine: Engine, examples: Sequence[MarkedExample], tools: Sequence[Tool]) -> Prompted:
    """Asks a decoder each question twice; of an example only its first call counts."""
    names = [tool.name for tool in tools]
    room = engine.info.context_length - _SPECIAL_TOKENS
    long = "\n".join(f"{tool.name}: {tool.description}" for tool in tools)
    offers = [
        [_offer(text, example.query) for text in (long, ", ".join(names), "")] for example in examples
    ]  # the last one, of no tool, is where not even the names fit
    fitting = [
        next((at for at, text in enumerate(texts) if len(engine.encode(text)) + _NAME_TOKENS <= room), 2)
        for texts in offers
    ]
    answers = await _written(engine, [example.query for example in examples], _ANSWER_TOKENS)
    named = await _written(engine, [texts[at] for texts, at in zip(offers, fitting, strict=True)], _NAME_TOKENS)
    calls = [example.calls[0] for example in examples]
    count = len(examples)
    return Prompted(
        100 * sum(is_answer(text, call.result) for text, call in zip(answers, calls, strict=True)) / count,
        100 * sum(first_named(text, names) == call.tool for text, call in zip(named, calls, strict=True)) / count,
        100 * fitting.count(0) / count,
    )


def is_answer(text: str, result: str) -> bool:
    """Whether the last number of a text is the result."""
    found, right = (_NUMBER.findall(each) for each in (text, result))
    if not found or not right:
        return False
    value, wanted = (float(each[-1].replace(",", "")) for each in (found, right))
    return abs(value - wanted) <= _NEAR * abs(wanted)


def first_named(text: str, names: Sequence[str]) -> str | None:
    """The tool that a text names first."""
    found = re.search(r"\b(" + "|".join(map(re.escape, names)) + r")\b", text.lower())
    return found[1] if found else None


def _offer(tools: str, question: str) -> str:
    return f"{tools}\n{question}\nWhich of these tools?" if tools else question


async def _written(engine: Engine, texts: Sequence[str], most: int) -> list[str]:
    """What the model writes; texts beyond its context get nothing."""
    room = engine.info.context_length - _SPECIAL_TOKENS

    async def write(text: str) -> str:
        left = room - len(engine.encode(text))
        if left < 1:
            return ""
        request = GenerateRequest(messages=(Message("user", text),), max_tokens=min(most, left))
        return (await engine.generate(request)).text

    return list(await asyncio.gather(*map(write, texts)))
