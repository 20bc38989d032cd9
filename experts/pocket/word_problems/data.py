"""Word problems as data: what the pair is trained on, and fixed sets of prompts with answers.

``python -m experts.pocket.word_problems.data --out prompts.jsonl`` writes the prompts that the pair's token router is
made and measured with.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from experts.pocket.corpus import Pair
from experts.pocket.domains.base import Split
from experts.pocket.word_problems.events import Step
from experts.pocket.word_problems.story import WordProblem, draw_events, draw_problem

_PRACTICE = 0.75
_FINAL = re.compile(r"#### (\d+)$")
# The models have seen nothing of valid and test. A router stops early on one part of valid and is calibrated on another.
ROUTER_SPLITS: dict[str, tuple[Split, float]] = {
    "train": ("train", 0.7),
    "valid": ("valid", 0.1),
    "calibration": ("valid", 0.1),
    "test": ("test", 0.1),
}


def word_problem_pairs(rng: Random, split: Split) -> Iterator[Pair]:
    """(problem, worked answer), endlessly; three of four pairs are bare equations, which are short."""
    while True:
        if rng.random() < _PRACTICE:
            yield _equation(rng)
        else:
            problem = draw_problem(rng, split)
            yield Pair(problem.text, problem.response)


def _equation(rng: Random) -> Pair:
    """One equation of a problem, as likely commuted as not."""
    step = rng.choice([step for event in draw_events(rng) for step in event.steps])
    if step.operator in "+*" and rng.random() < 0.5:
        step = Step(step.right, step.operator, step.left)
    text = str(step)
    return Pair(text[: text.index("=")], text)


def fixed_problems(split: Split, size: int, *, seed: int = 0, new_wording: bool = False) -> list[WordProblem]:
    """The fixed set of problems that scores are reported on; no problem comes twice."""
    rng = Random(f"word_problems/{split}/{new_wording}/{seed}")
    problems: dict[str, WordProblem] = {}
    while len(problems) < size:
        problem = draw_problem(rng, split, new_wording=new_wording)
        problems.setdefault(problem.text, problem)
    return list(problems.values())


def is_correct(prompt: str, answer: str | None, response: str) -> bool:  # noqa: ARG001 (a checker's signature)
    """Whether a response ends in ``####`` and exactly the answer; a checker for ``train token-router``."""
    found = _FINAL.search(response.rstrip())
    return found is not None and found[1] == answer


def prompt_row(problem: WordProblem, split: str) -> dict[str, str]:
    """``{"prompt", "answer", "split"}``, as ``tokengraph train token-router`` reads it."""
    return {"prompt": problem.text, "answer": str(problem.answer), "split": split}


def router_prompts(size: int, *, seed: int = 0) -> Iterator[dict[str, str]]:
    """What a token router is made with: ``size`` prompts in all."""
    for name, (split, share) in ROUTER_SPLITS.items():
        # Numbered seeds would make the two halves of valid overlap: draw both at once and deal them out.
        places = [n for n, (s, _) in ROUTER_SPLITS.items() if s == split]
        problems = fixed_problems(split, round(size * share) * len(places), seed=seed)
        for problem in problems[places.index(name) :: len(places)]:
            yield prompt_row(problem, name)


def main() -> None:
    """Writes the prompts of all splits, or problems in sentences that nobody has trained on."""
    parser = argparse.ArgumentParser(description="Write word problems as JSON lines of prompt, answer and split.")
    parser.add_argument("--size", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--new-wording", action="store_true", help="test problems in sentences that were held out")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.new_wording:
        told = fixed_problems("test", arguments.size, seed=arguments.seed, new_wording=True)
        rows = [prompt_row(problem, "test") for problem in told]
    else:
        rows = list(router_prompts(arguments.size, seed=arguments.seed))
    arguments.out.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
