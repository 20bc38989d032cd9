"""An evaluation of a mask as tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from router.evals.experts.measure import Evaluation, Outcome
from router.evals.report import Table


def summary_table(evaluation: Evaluation) -> Table:
    """The figures that a mask is judged by."""
    found = evaluation.summary
    target, count = evaluation.target, len(evaluation.of("random"))
    rows = [
        ("experts in the mask", f"{_percent(found['share_of_experts'])} of {evaluation.total_experts}"),
        (f"{target}: the behaviour without a mask", _percent(found["behaviour_without"])),
        (f"{target}: the behaviour with the mask", _percent(found["behaviour_with"])),
        (f"{target}: less of it", _percent(found["reduction"])),
        ("right answers of the other classes, points lost", _number(found["quality_cost_points"])),
        (f"{count} random masks: mean change", _percent(found["random_mean_change"])),
        (f"{count} random masks: mean change, either way", _percent(found["random_mean_absolute_change"])),
        (f"{count} random masks: standard deviation", _percent(found["random_deviation"])),
        (
            f"{count} random masks: least and most",
            f"{_percent(found['random_least'])} to {_percent(found['random_most'])}",
        ),
    ]
    return Table("In short", ("figure", "value"), tuple(rows))


def outcome_table(evaluation: Evaluation) -> Table:
    """How often each class showed the behaviour, and was answered right, with each mask."""
    classes = tuple(evaluation.prompts)
    answered = tuple(name for name in classes if name in evaluation.outcomes[0].correct and name != evaluation.target)
    heads = ("mask", "experts", *(f"{name}: shown" for name in classes), *(f"{name}: right" for name in answered))
    rows = [
        _row(outcome.name, [outcome], classes, answered) for outcome in evaluation.outcomes if outcome.kind != "random"
    ]
    if randoms := evaluation.of("random"):
        rows.insert(2, _row(f"{len(randoms)} random masks, mean", randoms, classes, answered))
    counted = ", ".join(f"{name} {count}" for name, count in evaluation.prompts.items())
    return Table("With each mask", heads, tuple(rows), f"Per cent of the prompts of a class ({counted}).")


def _row(
    name: str, outcomes: Sequence[Outcome], classes: Sequence[str], answered: Sequence[str]
) -> tuple[str | float, ...]:
    shown = [100 * statistics.fmean(outcome.shown[group] for outcome in outcomes) for group in classes]
    correct = [100 * statistics.fmean(outcome.correct[group] for outcome in outcomes) for group in answered]
    return (name, str(outcomes[0].experts), *shown, *correct)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "no right answers known" if value is None else f"{value:.2f}"
