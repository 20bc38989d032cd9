"""The size and the budget of every pocket model. One recipe and one seed make one checkpoint.

Everything is a Qwen3 or Qwen3-MoE of transformers with a character vocabulary, trained in float32 on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from experts.pocket.corpus import (
    FUNCTIONAL_TOKENS,
    UNKNOWN_NODE,
    Pair,
    generalist_pairs,
    master_pairs,
    specialist_pairs,
)
from experts.pocket.domains.base import Split
from experts.pocket.house_rule import house_pairs
from experts.pocket.word_problems.data import word_problem_pairs

Pairs = Callable[[Random, Split], Iterator[Pair]]


@dataclass(frozen=True)
class Mixture:
    """The experts that take the place of each layer's one feed-forward network.

    Attributes:
        experts: of a layer.
        top_k: of them that a token has.
        width: of an expert.
        confining_layers: the last so many layers have experts, ``top_k`` each, to which ``experts.pocket.confine`` confines
            a behaviour.
    """

    experts: int
    top_k: int
    width: int
    confining_layers: int


@dataclass(frozen=True)
class Recipe:
    """How to make one model.

    Attributes:
        pairs: endless (prompt, response) of a split.
        million_tokens: training budget, counted over prompts and responses, padding left out.
        refining_million_tokens: of a second run over the finished model, with two thirds of the rate, falling throughout.
        batch_tokens: tokens a step, about.
        prompt_weight: weight of the loss on prompt characters; responses count 1. The master reads free English, and
            predicting it teaches the spelling and the grammar that robustness to phrasing rests on.
        functional_tokens: node -> token, for the master.
        mixture: makes it a Qwen3-MoE; ``intermediate`` is not used then.
        learning_rate: peak rate of both optimisers; it falls linearly to zero over the last ``decay`` of the steps.
    """

    pairs: Pairs
    million_tokens: float
    refining_million_tokens: float = 0.0
    hidden: int = 96
    layers: int = 3
    heads: int = 3
    intermediate: int = 288
    context: int = 256
    batch_tokens: int = 4096
    prompt_weight: float = 0.0
    learning_rate: float = 3e-3
    decay: float = 0.6
    seed: int = 0
    functional_tokens: Mapping[str, str] = field(default_factory=dict)
    mixture: Mixture | None = None

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """What the vocabulary has besides the common tokens and the characters."""
        return (*self.functional_tokens.values(), UNKNOWN_NODE) if self.functional_tokens else ()


def _specialist(name: str, million_tokens: float) -> Recipe:
    return Recipe(lambda rng, split: specialist_pairs(rng, name, split), million_tokens)


RECIPES: dict[str, Recipe] = {
    # The bundled weights were refined in three goes, of 14, 14 and 18 million tokens; words went missing in the last two.
    # Half of the phrasings of sums, and a third of the others, were written later: these weights have not read them.
    "master": Recipe(
        master_pairs, 57, 46, hidden=128, layers=4, heads=4, intermediate=384, prompt_weight=0.2,
        functional_tokens=FUNCTIONAL_TOKENS,
    ),
    "arithmetic": _specialist("arithmetic", 8),
    "spelling": _specialist("spelling", 9),
    "numerals": _specialist("numerals", 6),
    "logic": _specialist("logic", 5),
    "bases": _specialist("bases", 8),
    "calendar": _specialist("calendar", 5),
    "capitals": _specialist("capitals", 3),
    "moe": Recipe(
        house_pairs, 10, hidden=64, layers=6, heads=2, batch_tokens=4096,
        mixture=Mixture(experts=32, top_k=2, width=32, confining_layers=3),
    ),
    # A specialist's budget. To stand fairly against the graph it needs the budget of all the others together, 101 million.
    "generalist": Recipe(generalist_pairs, 9),
    # One eleventh of the large one's parameters: what it writes reads as well, but the numbers are often wrong.
    "pair_small": Recipe(
        word_problem_pairs, 6, hidden=64, layers=2, heads=2, intermediate=192, context=512, batch_tokens=2048,
        prompt_weight=0.1,
    ),
    "pair_large": Recipe(
        word_problem_pairs, 10, hidden=160, layers=4, heads=5, intermediate=448, context=512, batch_tokens=3072,
        prompt_weight=0.1,
    ),
}  # fmt: skip
