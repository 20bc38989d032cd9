"""The size and the budget of the model that uses tools."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from experts.pocket.corpus import Pair
from experts.pocket.domains.base import Split
from experts.pocket.recipes import Recipe
from experts.pocket.tools.corpus import DOMAINS, draw_problem

START = "master"
"""The pocket model that the training starts from; it has the same shape."""


def marked_pairs(rng: Random, split: Split) -> Iterator[Pair]:
    """(question, answer with its calls marked), of the real tools."""
    while True:
        example = draw_problem(rng, rng.choice(tuple(DOMAINS.values())), split)
        yield Pair(example.question, example.problem.marked)


# The bundled weights were refined in two goes, of 14 and of 17 million tokens: words went missing in both, half of the
# phrasings, `sqrt`, `remainder`, round numbers and most forms of expressions came with the second.
# Nearly half of the phrasings were written later: neither these weights nor the rows of the tools have read them.
TOOL_USER = Recipe(
    marked_pairs,
    12,
    refining_million_tokens=31,
    hidden=128,
    layers=4,
    heads=4,
    intermediate=384,
    context=320,
    batch_tokens=3072,
    prompt_weight=0.1,
)
