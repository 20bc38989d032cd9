"""Labelled prompts, and behaviours that answers show or not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from router.errors import DataError
from router.json_lines import read_rows
from router.user_function import load_user_function

Behaviour = Callable[[str, str], bool]
"""Whether an answer to a prompt shows it: ``behaviour(prompt, answer)``."""

SHOWN, OTHER = "shown", "other"
"""The classes of prompts that are told apart by their answers."""


@dataclass(frozen=True)
class LabelledPrompt:
    """A prompt.

    Attributes:
        group: its class; None if its answer is to decide that.
        answer: the right answer; None if any will do.
    """

    prompt: str
    group: str | None = None
    answer: str | None = None


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt: str = Field(min_length=1)
    group: str | None = Field(None, alias="class", min_length=1)
    answer: str | None = None


def read_prompts(path: Path, *, classes: bool, limit: int | None = None) -> list[LabelledPrompt]:
    """Reads JSON lines of ``{"prompt", "class", "answer"}``.

    Args:
        classes: every line must have one.
        limit: of each class at most so many, the first ones.

    Raises:
        DataError: the file is missing, is something else, or has no prompts.
    """
    found: list[LabelledPrompt] = []
    taken: dict[str | None, int] = {}
    for row, where in read_rows(path, _Row, '{"prompt": ..., "class": ...}'):
        if classes and row.group is None:
            raise DataError(where, 'a "class", or a pattern or checker for the answers', "neither")
        taken[row.group] = taken.get(row.group, 0) + 1
        if limit is None or taken[row.group] <= limit:
            found.append(LabelledPrompt(row.prompt, row.group, row.answer))
    if not found:
        raise DataError(str(path), "at least one prompt", "none")
    return found


def read_behaviour(pattern: str | None, checker: str | None) -> Behaviour | None:
    """A behaviour by a regular expression that is searched in the answer, case ignored, or by ``MODULE:FUNCTION``.

    Raises:
        DataError: it is neither, or there is no such function.
    """
    if pattern is not None and checker is not None:
        raise DataError("the behaviour", "a pattern or a checker", "both")
    if pattern is not None:
        try:
            compiled = re.compile(pattern, re.IGNORECASE)
        except re.error as error:
            raise DataError("the pattern", "a regular expression", f"{pattern!r} ({error})") from error
        return lambda _prompt, answer: compiled.search(answer) is not None
    if checker is None:
        return None
    try:
        function = load_user_function(checker)
    except ImportError as error:
        raise DataError("the checker", "MODULE:FUNCTION that can be imported", str(error)) from error
    return lambda prompt, answer: bool(function(prompt, answer))
