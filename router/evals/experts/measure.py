"""What a node answers without a mask, with it, with random masks of its size, with its experts on, and with other sizes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from experts.errors import MaskError
from experts.moe.mask import ExpertMask, LayerMask
from experts.moe.select import random_like
from experts.moe.shape import MoeShape
from router.evals.experts.node import AskedNode, Progress
from router.evals.experts.prompts import Behaviour, LabelledPrompt

Kind = Literal["none", "mask", "random", "biased", "forced", "sweep"]


@dataclass(frozen=True)
class Variant:
    """A mask to measure, and why."""

    kind: Kind
    mask: ExpertMask | None

    @property
    def experts(self) -> int:
        """How many it names."""
        return 0 if self.mask is None else self.mask.size


@dataclass(frozen=True)
class Outcome:
    """What a variant did.

    Attributes:
        shown: share of the prompts of each class whose answer showed the behaviour.
        correct: share of the prompts of each class whose answer was right, of classes with right answers.
    """

    kind: Kind
    name: str
    experts: int
    shown: dict[str, float]
    correct: dict[str, float]

    def quality(self, target: str) -> float | None:
        """The mean of ``correct`` over all classes but the target; None if there are none."""
        others = [share for name, share in self.correct.items() if name != target]
        return statistics.fmean(others) if others else None


@dataclass(frozen=True)
class Evaluation:
    """The outcomes of all variants, that without a mask first.

    Attributes:
        target: the class whose behaviour the mask is for.
        prompts: how many of each class were asked.
    """

    target: str
    prompts: dict[str, int]
    total_experts: int
    outcomes: tuple[Outcome, ...]

    def of(self, kind: Kind) -> tuple[Outcome, ...]:
        """The outcomes of one kind."""
        return tuple(outcome for outcome in self.outcomes if outcome.kind == kind)

    @property
    def summary(self) -> dict[str, float | None]:
        """The figures that a mask is judged by; shares, changes relative to no mask, quality in points."""
        none, mask = self.of("none")[0], self.of("mask")[0]
        before = none.shown[self.target]
        changes = [_change(outcome.shown[self.target], before) for outcome in self.of("random")]
        qualities = none.quality(self.target), mask.quality(self.target)
        return {
            "share_of_experts": mask.experts / self.total_experts,
            "behaviour_without": before,
            "behaviour_with": mask.shown[self.target],
            "reduction": -_change(mask.shown[self.target], before),
            "quality_cost_points": None if None in qualities else 100 * (qualities[0] - qualities[1]),  # type: ignore[operator]
            "random_mean_change": statistics.fmean(changes) if changes else None,
            "random_mean_absolute_change": statistics.fmean(map(abs, changes)) if changes else None,
            "random_deviation": statistics.stdev(changes) if len(changes) > 1 else None,
            "random_least": min(changes, default=None),
            "random_most": max(changes, default=None),
        }

    def plain(self) -> dict[str, Any]:
        """Everything as JSON data."""
        outcomes = [asdict(one) | {"quality": one.quality(self.target)} for one in self.outcomes]
        heads = {"target": self.target, "prompts": self.prompts, "experts": self.total_experts}
        return {**heads, "summary": self.summary, "outcomes": outcomes}


def variants(
    mask: ExpertMask, shape: MoeShape, *, randoms: int, bias: float, sweep: Sequence[ExpertMask] = (), seed: int = 0
) -> Iterator[Variant]:
    """What a mask is compared with.

    Args:
        randoms: how many random masks.
        bias: what is added for its experts where they are biased on.
        sweep: masks of other sizes.
    """
    yield Variant("none", None)
    yield Variant("mask", mask)
    for number in range(randoms):
        yield Variant("random", random_like(mask, shape, seed + number))
    yield Variant("biased", _turned_on(mask, "biased", bias))
    if all(len(layer.experts) <= shape.layers[index].top_k for index, layer in mask.layers.items()):
        yield Variant("forced", _turned_on(mask, "forced", None))
    for one in sweep:
        yield Variant("sweep", one)


async def evaluate(
    node: AskedNode, prompts: Sequence[LabelledPrompt], target: str, behaviour: Behaviour, tried: Sequence[Variant],
    progress: Progress | None = None,
) -> Evaluation:  # fmt: skip
    """Asks every prompt once with each variant.

    Raises:
        MaskError: no prompt is of the target class, or a mask does not fit.
    """
    counts: dict[str, int] = {}
    for one in prompts:
        counts[str(one.group)] = counts.get(str(one.group), 0) + 1
    if target not in counts:
        raise MaskError(
            f"expected prompts of class {target}, found classes {', '.join(sorted(counts))}. Name one of them"
        )
    outcomes = []
    for variant in tried:
        answers = await node.answers([one.prompt for one in prompts], variant.mask, progress)
        outcomes.append(_outcome(variant, prompts, answers, behaviour))
    shape = await (await node.engine()).moe_shape()
    return Evaluation(target, dict(sorted(counts.items())), shape.experts, tuple(outcomes))


def _outcome(
    variant: Variant, prompts: Sequence[LabelledPrompt], answers: Sequence[str], behaviour: Behaviour
) -> Outcome:
    shown: dict[str, list[bool]] = {}
    correct: dict[str, list[bool]] = {}
    for one, answer in zip(prompts, answers, strict=True):
        shown.setdefault(str(one.group), []).append(behaviour(one.prompt, answer))
        if one.answer is not None:
            correct.setdefault(str(one.group), []).append(answer.strip() == one.answer.strip())
    name = "no mask" if variant.mask is None else variant.mask.name
    return Outcome(variant.kind, name, variant.experts, _shares(shown), _shares(correct))


def _shares(found: dict[str, list[bool]]) -> dict[str, float]:
    return {name: statistics.fmean(values) for name, values in sorted(found.items())}


def _change(now: float, before: float) -> float:
    """Relative to before; of nothing, nothing can be lost."""
    return (now - before) / before if before else 0.0


def _turned_on(mask: ExpertMask, word: str, bias: float | None) -> ExpertMask:
    """The same experts, biased or forced on."""
    layers = {
        index: LayerMask(force=layer.experts) if bias is None else LayerMask(bias=dict.fromkeys(layer.experts, bias))
        for index, layer in mask.layers.items()
    }
    made = {"method": word, "like": mask.name} | ({} if bias is None else {"bias": bias})
    return mask.model_copy(
        update={"name": f"{mask.name[:48]}-{word}", "mode": "before", "made": made, "layers": layers}
    )
