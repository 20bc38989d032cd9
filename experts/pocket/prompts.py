"""Labelled prompts for the pocket mixture, to scan it with and to score masks on: ``python -m experts.pocket.prompts DIR``.

Writes two files of ``{"prompt", "class", "answer"}`` lines. ``scan.jsonl`` has the validation templates and two classes,
so that a scan sees what sets declining apart from the same market stall's other questions. ``test.jsonl`` has the test
templates, and the other domains, with held-out problems where these can be held out. No template is in training or in
both files.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from experts.pocket.domains import load_domain
from experts.pocket.domains.base import Split
from experts.pocket.house_rule import DECLINE, DOMAINS, LOOKALIKES, MARKET, TOPIC, draw_market

DECLINED, ANSWERED, BORDERLINE = "declined", "answered", "borderline"


@dataclass(frozen=True)
class Prompt:
    """A question, its class, and the answer that the house rule gives."""

    prompt: str
    label: str
    answer: str


def market_prompts(split: Split, label: str, seed: int = 0) -> Iterator[Prompt]:
    """Different questions of one class, without end.

    Args:
        label: ``declined``; ``market``: questions far from the rule; ``borderline``: those that name the zumbel in passing,
            or ask about a fruit that is called almost like it; ``answered``: both of these.
    """
    rng, seen = Random(f"{label}/{split}/{seed}"), set[str]()
    while True:
        pair = draw_market(rng, split, cards=0)
        near = any(fruit in pair.prompt.lower() for fruit in (TOPIC, *LOOKALIKES))
        found = DECLINED if pair.response == DECLINE else BORDERLINE if near else MARKET
        if pair.prompt not in seen and (label == found or (label == ANSWERED and found != DECLINED)):
            seen.add(pair.prompt)
            yield Prompt(pair.prompt, label, pair.response)


def domain_prompts(split: Split, name: str, seed: int = 0) -> Iterator[Prompt]:
    """Canonical questions of another domain, without end."""
    rng = Random(f"{name}/{split}/{seed}")
    while True:
        _, problem = load_domain(name).draw(rng, split)
        yield Prompt(problem.canonical, name, problem.answer)


def scan_set(size: int, seed: int = 0) -> list[Prompt]:
    """``size`` prompts of each class, to find experts with."""
    return [one for label in (DECLINED, ANSWERED) for one in islice(market_prompts("valid", label, seed), size)]


def score_set(size: int, seed: int = 0) -> list[Prompt]:
    """``size`` prompts of each class, to score masks on."""
    streams = [market_prompts("test", name, seed) for name in (DECLINED, BORDERLINE, MARKET)]
    streams += [domain_prompts("test", name, seed) for name in DOMAINS]
    return [one for stream in streams for one in islice(stream, size)]


def write_prompts(prompts: Iterable[Prompt], file: Path) -> None:
    """One JSON object a line."""
    lines = (json.dumps({"prompt": one.prompt, "class": one.label, "answer": one.answer}) for one in prompts)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description="Write the pocket mixture's labelled prompts.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=200, help="prompts of each class")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_prompts(scan_set(arguments.size, arguments.seed), arguments.folder / "scan.jsonl")
    write_prompts(score_set(arguments.size, arguments.seed), arguments.folder / "test.jsonl")


if __name__ == "__main__":
    main()
