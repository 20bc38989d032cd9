"""Pictures of scans and of evaluations of masks, as plain SVG that is readable on light and on dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from experts.moe.mask import ExpertMask
from experts.moe.scan import Scan
from router.evals.experts.measure import Evaluation

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

_FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_MARGIN, _WIDEST = 20.0, 900.0
_STYLE = (
    "<style>text{font-size:11px;fill:#566270}.title{font-size:15px;font-weight:600;fill:#1d2733}"
    ".cell{stroke:none}.much{fill:#2f5fa8}.less{fill:#b0562f}.marked{fill:none;stroke:#1d2733;stroke-width:1.6}"
    ".frame,.axis{fill:none;stroke:#b6bfc9}.line{fill:none;stroke-width:2}.target{stroke:#b0562f;fill:#b0562f}"
    ".quality{stroke:#2f5fa8;fill:#2f5fa8}.line.target,.line.quality{fill:none}.random{stroke:#8a96a5;fill:#8a96a5}"
    "@media (prefers-color-scheme: dark){text{fill:#a3aebb}.title{fill:#e6eaf0}.much{fill:#7ea3dc}.less{fill:#e0956f}"
    ".marked{stroke:#e6eaf0}.frame,.axis{stroke:#566270}.target{stroke:#e0956f;fill:#e0956f}"
    ".quality{stroke:#7ea3dc;fill:#7ea3dc}}</style>"
)


def heat_map(scan: Scan, target: str | None = None, mask: ExpertMask | None = None) -> str:
    """How often each expert is chosen per token, a panel for each class: layers down, experts across.

    Args:
        target: adds a panel of the differences of its rates to the mean of the other classes'.
        mask: its experts are framed in every panel.
    """
    rates = scan.counts / np.array(scan.tokens)[:, None, None]
    panels = [(f"{name}: {prompts:,} prompts, {tokens:,} tokens", rates[at], float(rates.max()) or 1.0)
              for at, (name, prompts, tokens) in enumerate(zip(scan.classes, scan.prompts, scan.tokens, strict=True))]  # fmt: skip
    if target is not None and len(scan.classes) > 1:
        at = scan.index(target)
        difference = rates[at] - np.delete(rates, at, axis=0).mean(axis=0)
        panels.insert(
            0,
            (
                f"{target} minus the others, blue more and orange less",
                difference,
                float(np.abs(difference).max()) or 1.0,
            ),
        )
    rows, columns = rates.shape[1:]
    size = max(4.0, min(22.0, _WIDEST / columns))
    left, head = 52.0, 26.0
    each = head + rows * size + 26
    body = []
    for number, (title, values, most) in enumerate(panels):
        top = 48 + number * each
        body.append(
            f'<g transform="translate({_MARGIN} {top:.0f})"><text y="14">{escape(title)} (darkest: {most:.3f})</text>'
        )
        body += _cells(values, most, size, left, head, scan.layers, mask)
        body.append("</g>")
    return _svg("Experts chosen per token", left + columns * size + 2 * _MARGIN, 48 + len(panels) * each, body)


def _cells(
    values: NDArray[float64], most: float, size: float, left: float, head: float, layers: Sequence[int],
    mask: ExpertMask | None,
) -> list[str]:  # fmt: skip
    rows, columns = values.shape
    step = max(1, round(40 / size))
    parts = []
    for row, layer in enumerate(layers):
        y = head + row * size
        if row % max(1, round(14 / size)) == 0:
            parts.append(f'<text x="{left - 6:.0f}" y="{y + size / 2 + 4:.1f}" text-anchor="end">layer {layer}</text>')
        named = mask.layers[layer].experts if mask is not None and layer in mask.layers else ()
        for expert in range(columns):
            value = float(values[row, expert])
            place = f'x="{left + expert * size:.1f}" y="{y:.1f}" width="{size - 0.6:.1f}" height="{size - 0.6:.1f}"'
            word = "much" if value >= 0 else "less"
            parts.append(
                f'<rect class="cell {word}" {place} fill-opacity="{0.04 + 0.96 * abs(value) / most:.3f}">'
                f"<title>layer {layer}, expert {expert}: {value:.4f}</title></rect>"
            )
            if expert in named:
                parts.append(f'<rect class="marked" {place}/>')
    y = head + rows * size + 14
    parts += [
        f'<text x="{left + (expert + 0.5) * size:.1f}" y="{y:.1f}" text-anchor="middle">{expert}</text>'
        for expert in range(0, columns, step)
    ]
    return parts


def sweep_plot(evaluation: Evaluation) -> str:
    """The behaviour and the quality against the number of experts in the mask, with the random masks beside it."""
    points = sorted(
        (*evaluation.of("none"), *evaluation.of("sweep"), *evaluation.of("mask")), key=lambda outcome: outcome.experts
    )
    width, height, left, top = 620.0, 300.0, 56.0, 60.0
    most = max(outcome.experts for outcome in evaluation.outcomes) or 1

    def x(experts: float) -> float:
        return left + width * experts / most

    def y(share: float) -> float:
        return top + height * (1 - share)

    body = [f'<rect class="frame" x="{left}" y="{top}" width="{width}" height="{height}"/>']
    for tick in range(0, 101, 20):
        body.append(f'<path class="axis" d="M{left} {y(tick / 100):.1f}h{width}" stroke-dasharray="2 4"/>')
        body.append(f'<text x="{left - 8}" y="{y(tick / 100) + 4:.1f}" text-anchor="end">{tick} %</text>')
    shown = sorted({outcome.experts for outcome in points})
    shown = shown if len(shown) <= 12 else shown[:: len(shown) // 12 + 1]
    body += [f'<text x="{x(at):.1f}" y="{top + height + 16}" text-anchor="middle">{at}</text>' for at in shown]
    caption = f"experts in the mask, of {evaluation.total_experts}"
    body.append(f'<text x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle">{caption}</text>')
    for outcome in evaluation.of("random"):
        share, place = outcome.shown[evaluation.target], x(outcome.experts)
        body.append(f'<circle class="random" cx="{place:.1f}" cy="{y(share):.1f}" r="3" fill-opacity="0.5"/>')
    body += _line("target", [(x(o.experts), y(o.shown[evaluation.target])) for o in points])
    qualities = [(x(o.experts), y(quality)) for o in points if (quality := o.quality(evaluation.target)) is not None]
    body += _line("quality", qualities) if qualities else []
    legend = [("target", f"{evaluation.target}: the behaviour is shown"), ("random", "the same, random masks")]
    legend += [("quality", "right answers of the other classes")] if qualities else []
    for number, (word, text) in enumerate(legend):
        place = left + number * 215
        body.append(
            f'<circle class="{word}" cx="{place + 5}" cy="46" r="4"/><text x="{place + 14}" y="50">{escape(text)}</text>'
        )
    return _svg("What a mask switches off", left + width + 2 * _MARGIN, top + height + 52, body)


def _line(word: str, places: Sequence[tuple[float, float]]) -> list[str]:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = [f'<circle class="{word}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>' for x, y in places]
    return [f'<path class="line {word}" d="M{path}"/>', *dots]


def _svg(title: str, width: float, height: float, body: Sequence[str]) -> str:
    frame = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="{_FONT}">'
    )
    head = f'<title>{escape(title)}</title><text class="title" x="{_MARGIN}" y="28">{escape(title)}</text>'
    return "\n".join([frame, _STYLE, head, *body, "</svg>", ""])
