"""A graph as plain SVG, readable on light and on dark ground."""

from __future__ import annotations

import re
import unicodedata
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from router.graph.layout import Box, Route, Size, layered
from router.graph.wording import condition, detail

if TYPE_CHECKING:
    from router.graph.build import Graph
    from router.spec.models import EdgeSpec, GraphSpec

Palette = dict[str, tuple[tuple[str, str, str], tuple[str, str, str]]]

PALETTE: Palette = {  # (fill, line, text) on light and on dark ground
    "router": (("#e3ecfb", "#4a74b8", "#1d2733"), ("#22324a", "#7ea3dc", "#e6eaf0")),
    "expert": (("#e6f2e6", "#5a8f5e", "#1d2733"), ("#22382a", "#84bb89", "#e6eaf0")),
    "token_pair": (("#f1e7f7", "#8a5fa8", "#1d2733"), ("#38284a", "#ba93d6", "#e6eaf0")),
    "tool": (("#fbf0da", "#b08432", "#1d2733"), ("#40331b", "#d9b066", "#e6eaf0")),
    "join": (("#e2f1f2", "#4b8d93", "#1d2733"), ("#1f393c", "#7cbcc2", "#e6eaf0")),
}
_DASHES = {"token": "", "always": "", "low_confidence": "6 4", "error": "2 4", "fallback": "2 4"}
_MAIN = ("token", "always")
_MEANING = {
    "token": "chosen by a token", "always": "always", "low_confidence": "below a confidence", "error": "on error",
    "fallback": "fallback",
}  # fmt: skip
_FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
_MARGIN, _HEAD, _HEIGHT, _LOOP = 24.0, 44.0, 44.0, 26.0
_LONGEST = 30
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(graph: Graph) -> str:
    """The graph, left to right from its entry, with a legend of the kinds of nodes and edges in it."""
    spec: GraphSpec = graph.graph["spec"]
    edges = [edge for _, _, data in graph.edges(data=True) for edge in data["edges"]]
    loops: dict[str, list[EdgeSpec]] = {}
    for edge in edges:
        if edge.source == edge.target:
            loops.setdefault(edge.source, []).append(edge)
    through = [edge for edge in edges if edge.source != edge.target]
    through.sort(key=lambda edge: spec.when(edge) not in _MAIN)  # of a cycle, the conditional edge leads back
    sizes = {node: _node_size(node, graph, node in loops) for node in graph}
    labels = [_label(spec, edge) for edge in through]
    ends = [(str(e.source), str(e.target), _label_size(text)) for e, text in zip(through, labels, strict=True)]
    layout = layered(sizes, ends)
    body = [_route(r, spec.when(e), text) for r, e, text in zip(layout.routes, through, labels, strict=True)]
    for node, box in layout.boxes.items():
        if node in loops:
            text = "; ".join(filter(None, (_label(spec, edge) for edge in loops[node])))
            body.append(_loop(box, spec.when(loops[node][0]), text))
        body.append(_node(node, box, graph))
    entry = layout.boxes[graph.graph["entry"]]
    left = entry.x - entry.width / 2
    body.append(_line(f"M{left - 28:.1f} {entry.y:.1f}H{left - 1:.1f}", "always"))
    kinds = list(dict.fromkeys(data["spec"].kind for _, data in graph.nodes(data=True)))
    legend, legend_width = _legend(kinds, list(dict.fromkeys(map(spec.when, edges))), layout.height + 40)
    width = max(layout.width + 22, legend_width, _width(spec.name, 16)) + 2 * _MARGIN
    height = _HEAD + layout.height + 40 + 24 + _MARGIN
    frame = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="{_FONT}" font-size="13">'
    )
    title = f'<title>{_text(spec.name)}</title>\n<text class="title" x="{_MARGIN}" y="30">{_text(spec.name)}</text>'
    drawing = [f'<g transform="translate({_MARGIN + 22} {_HEAD + _MARGIN / 2})">', *body, "</g>"]
    key = [f'<g transform="translate({_MARGIN} {_HEAD + _MARGIN / 2})">', *legend, "</g>"]
    return "\n".join([frame, _style(), _arrows(), title, *drawing, *key, "</svg>", ""])


def _label(spec: GraphSpec, edge: EdgeSpec) -> str:
    text = condition(spec, edge)
    return "" if text == "token" else _short(text)


def _node_size(node: str, graph: Graph, loop: bool) -> Size:
    below = detail(graph.nodes[node]["spec"])
    return Size(max(_width(_short(node), 13.5), _width(_short(below), 11)) + 36, _HEIGHT + (2 * _LOOP if loop else 0))


def _label_size(text: str) -> Size:
    return Size(_width(text, 11) + 8, 20) if text else Size(0, 4)


def _node(node: str, box: Box, graph: Graph) -> str:
    spec = graph.nodes[node]["spec"]
    name, below = _text(_short(node)), _text(_short(detail(spec)))
    tip = f"<title>{_text(spec.description)}</title>" if spec.description else ""
    return (
        f'<g class="{spec.kind}">{tip}{_shape(spec.kind, box.x, box.y, box.width, _HEIGHT)}'
        f'<text class="name" x="{box.x:.1f}" y="{box.y - 2:.1f}">{name}</text>'
        f'<text class="below" x="{box.x:.1f}" y="{box.y + 13:.1f}">{below}</text></g>'
    )


def _shape(kind: str, x: float, y: float, width: float, height: float) -> str:
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    slant = height / 4
    rectangle = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    if kind == "router":
        top_side = f"{left + slant:.1f},{top:.1f} {right - slant:.1f},{top:.1f}"
        bottom_side = f"{right - slant:.1f},{bottom:.1f} {left + slant:.1f},{bottom:.1f}"
        return f'<polygon points="{left:.1f},{y:.1f} {top_side} {right:.1f},{y:.1f} {bottom_side}"/>'
    if kind == "token_pair":
        inner = f'x="{left + 3:.1f}" y="{top + 3:.1f}" width="{width - 6:.1f}" height="{height - 6:.1f}"'
        return f'<rect {rectangle} rx="6"/><rect {inner} rx="4"/>'
    if kind == "tool":
        bars = f'<path d="M{left + 6:.1f} {top:.1f}V{bottom:.1f}M{right - 6:.1f} {top:.1f}V{bottom:.1f}"/>'
        return f"<rect {rectangle}/>{bars if width > 40 else ''}"
    return f'<rect {rectangle} rx="{height / 2 if kind == "join" else 7:.1f}"/>'


def _route(route: Route, when: str, label: str) -> str:
    start, end = route.pieces[0][0], route.pieces[-1][1]
    path = f"M{start + (1 if route.backwards else 0):.1f} {route.pieces[0][2]:.1f}H{route.pieces[0][1]:.1f}"
    for (_, before, y), (after, stop, to) in pairwise(route.pieces):
        bend = (before + after) / 2
        path += f"C{bend:.1f} {y:.1f} {bend:.1f} {to:.1f} {after:.1f} {to:.1f}"
        path += f"H{stop - (1 if stop == end and not route.backwards else 0):.1f}" if stop > after else ""
    return _line(path, when, route.backwards) + _label_text(label, route.label.x, route.label.y - 4)


def _line(path: str, when: str, backwards: bool = False) -> str:
    end = "start" if backwards else "end"
    return f'<path class="edge {when}" d="{path}" marker-{end}="url(#{"token" if when == "token" else "other"})"/>'


def _loop(box: Box, when: str, label: str) -> str:
    top = box.y - _HEIGHT / 2
    left, right = f"{box.x - 14:.1f}", f"{box.x + 14:.1f}"
    path = f"M{left} {top:.1f}C{left} {top - _LOOP:.1f} {right} {top - _LOOP:.1f} {right} {top - 1:.1f}"
    return _line(path, when) + _label_text(label, box.x, top - _LOOP + 2)


def _label_text(label: str, x: float, y: float) -> str:
    return f'<text class="label" x="{x:.1f}" y="{y:.1f}">{_text(label)}</text>' if label else ""


def _legend(kinds: list[str], whens: list[str], y: float) -> tuple[list[str], float]:
    parts, x = [], 0.0
    for kind in kinds:
        text = kind.replace("_", " ")
        parts.append(f'<g class="{kind}">{_shape(kind, x + 13, y, 26, 16)}</g>')
        parts.append(f'<text class="key" x="{x + 32:.1f}" y="{y + 4:.1f}">{text}</text>')
        x += 32 + _width(text, 11) + 18
    for when in whens:
        parts.append(_line(f"M{x:.1f} {y:.1f}h24", when))
        parts.append(f'<text class="key" x="{x + 32:.1f}" y="{y + 4:.1f}">{_MEANING[when]}</text>')
        x += 32 + _width(_MEANING[when], 11) + 18
    return parts, x


def _style() -> str:
    def rules(ground: int, text: str, muted: str, line: str, token: str) -> str:
        kinds = "".join(
            f".{kind}>:not(text){{fill:{colours[ground][0]};stroke:{colours[ground][1]};stroke-width:1.4}}"
            f".{kind}>text{{fill:{colours[ground][2]}}}"
            for kind, colours in PALETTE.items()
        )
        return (
            f"{kinds}.title,.key{{fill:{text}}}.label,.below{{fill:{muted}!important}}.edge{{stroke:{line}}}"
            f".edge.token{{stroke:{token}}}#other path{{fill:{line}}}#token path{{fill:{token}}}"
        )

    dashes = "".join(f".{when}{{stroke-dasharray:{dash}}}" for when, dash in _DASHES.items() if dash)
    return (
        "<style>text{text-anchor:middle}.title,.key{text-anchor:start}.title{font-size:16px;font-weight:600}"
        ".name{font-size:13.5px;font-weight:600}.label,.below,.key{font-size:11px}"
        f".edge{{fill:none;stroke-width:1.4}}{dashes}"
        f"{rules(0, '#1d2733', '#566270', '#7a8694', '#4a74b8')}"
        f"@media (prefers-color-scheme: dark){{{rules(1, '#e6eaf0', '#a3aebb', '#8a96a5', '#7ea3dc')}}}</style>"
    )


def _arrows() -> str:
    head = (
        'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" '
        'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker>'
    )
    return f'<defs><marker id="token" {head}<marker id="other" {head}</defs>'


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _width(text: str, size: float) -> float:
    """A safe guess at the width of a text in pixels."""
    return sum(size * (1.05 if unicodedata.east_asian_width(c) in "WF" else 0.62) for c in text)
