"""What an encoder sees of its training queries: batches of like length, and other views of a query in each pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from experts.engines.requests import Message

_OPTIONS = re.compile(r"\n\s*\(?A[.):]\s.*", re.DOTALL)
_PLAIN_SHARE = 0.7  # views that are the whole query
_MIN_HALVED_WORDS = 16


@dataclass(frozen=True)
class Labelled:
    """Texts and the numbers of their rows."""

    texts: Sequence[str]
    labels: Sequence[int]


def stem(text: str) -> str:
    """A multiple-choice question without its options; any other text, and one that is options only, as it is."""
    return _OPTIONS.sub("", text) or text


def stems(dialogues: Sequence[Sequence[Message]]) -> tuple[list[tuple[Message, ...]], list[int]]:
    """The dialogues whose user turns have options, without the options; and which of ``dialogues`` they are."""
    found: list[tuple[Message, ...]] = []
    of: list[int] = []
    for number, messages in enumerate(dialogues):
        short = tuple(replace(m, content=stem(m.content)) if m.role == "user" else m for m in messages)
        if short != tuple(messages):
            found.append(short)
            of.append(number)
    return found, of


def view(text: str, random: Random) -> str:
    """The text, or a part of it that should lead to the same node."""
    if random.random() < _PLAIN_SHARE:
        return text
    asked = stem(text)
    words = asked.split()
    if len(words) < _MIN_HALVED_WORDS or random.random() < 0.5:
        return asked
    half = len(words) // 2
    return " ".join(words[half:] if random.random() < 0.5 else words[:half])


def batches(rows: Labelled, size: int, random: Random | None) -> Iterator[tuple[list[str], list[int]]]:
    """Batches of texts of like length; in random order if there is a ``random``."""
    order = list(range(len(rows.texts)))
    pool = len(order)
    if random is not None:
        random.shuffle(order)
        pool = 16 * size  # sorted within pools only, so that batches differ from pass to pass
    found: list[list[int]] = []
    for start in range(0, len(order), pool or 1):
        part = sorted(order[start : start + pool], key=lambda i: len(rows.texts[i]))
        found += [part[at : at + size] for at in range(0, len(part), size)]
    if random is not None:
        random.shuffle(found)
    for batch in found:
        yield [rows.texts[i] for i in batch], [rows.labels[i] for i in batch]
