"""A language model as verifier, where no checker knows the task (R2R's way)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, Message
from router.token_level.checkers import Branch, Verdict
from router.token_level.problems import Problem

PROMPT = """\
Two continuations of one response are shown. They part at one word.

<question>
{question}
</question>
<response so far>
{prefix}
</response so far>
<continuation A>
{reference}
</continuation A>
<continuation B>
{proposal}
</continuation B>

Does B differ from A in meaning, reasoning, facts or result? Other wording, order or detail of the same thought is no \
difference. Think briefly, then end with one line, either
VERDICT: SAME
or
VERDICT: DIFFERENT"""

_VERDICT = re.compile(r"VERDICT: (SAME|DIFFERENT)")
_MEANING: dict[str, Verdict] = {"SAME": "neutral", "DIFFERENT": "divergent"}


class Judge:
    """Asks a model, greedily, whether the two branches mean the same.

    The last line of its reply has to be a verdict, word for word; any other reply makes the mismatch ``unclear``. Text
    that is judged cannot end its own section: the tags in it are taken out.

    Args:
        prompt: with the fields {question}, {prefix}, {reference} and {proposal}.
    """

    needs_answers = False

    def __init__(self, engine: Engine, prompt: str = PROMPT, max_tokens: int = 512) -> None:
        self._engine, self._prompt, self._max_tokens = engine, prompt, max_tokens

    async def grade(self, problem: Problem, response: str) -> bool | None:
        return None

    async def verify(self, branches: Sequence[Branch]) -> list[Verdict]:
        replies = await asyncio.gather(*(self._engine.generate(self._request(branch)) for branch in branches))
        return [read_verdict(reply.text) for reply in replies]

    def _request(self, branch: Branch) -> GenerateRequest:
        fields = {
            "question": branch.problem.prompt, "prefix": branch.prefix, "reference": branch.reference,
            "proposal": branch.proposal,
        }  # fmt: skip
        text = self._prompt.format(**{name: _untagged(value) for name, value in fields.items()})
        return GenerateRequest(messages=(Message("user", text),), max_tokens=self._max_tokens)


def read_verdict(reply: str) -> Verdict:
    """The verdict of a reply: its last line alone counts."""
    lines = reply.strip().splitlines() or [""]
    found = _VERDICT.fullmatch(lines[-1].strip())
    return _MEANING[found[1]] if found else "unclear"


def _untagged(text: str) -> str:
    return re.sub(r"</?\s*(question|response so far|continuation [AB])\s*>", "", text, flags=re.IGNORECASE)
