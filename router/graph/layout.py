"""A layered layout, left to right, in which nothing overlaps (after Sugiyama, Tagawa and Toda, 1981).

Nodes stand in even columns. Every edge passes through one slot in each column between its ends, and its label has the
slot next to its source for itself: so labels collide neither with each other nor with lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SWEEPS = 8
_SPACE = 14.0  # between the items of a column, in pixels
_PORT = 12.0  # beside a node, for the arrow head
_Item = str | tuple[int, int]  # a node, or (edge, column)
_Columns = list[list[_Item]]


@dataclass(frozen=True)
class Size:
    """What a label takes up, in pixels."""

    width: float
    height: float


@dataclass(frozen=True)
class Box:
    """A placed rectangle, in pixels; ``x`` and ``y`` are its centre."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Route:
    """Way of an edge from left to right: horizontal pieces (x from, x to, y). ``backwards``: it ends at its source."""

    pieces: tuple[tuple[float, float, float], ...]
    label: Box
    backwards: bool


@dataclass(frozen=True)
class Layout:
    """Where everything is, in pixels."""

    boxes: dict[str, Box]
    routes: tuple[Route, ...]
    width: float
    height: float


def layered(nodes: Mapping[str, Size], edges: Sequence[tuple[str, str, Size]]) -> Layout:
    """Places nodes, and edges given as (source, target, size of the label).

    Every edge leads to the right, but those that would close a cycle of earlier ones lead to the left. An edge from a
    node to itself is not accepted.
    """
    rank, backwards = _ranks(nodes, edges)
    size: dict[_Item, Size] = {node: nodes[node] for node in nodes}
    chains: list[list[_Item]] = []
    given = list(nodes)
    columns: dict[int, list[_Item]] = {2 * r: [n for n in nodes if rank[n] == r] for r in sorted(set(rank.values()))}
    labelled = {2 * rank[u] + (-1 if i in backwards else 1) for i, (u, _, label) in enumerate(edges) if label.width}
    for index, (source, target, label) in enumerate(edges):
        left, right = (target, source) if index in backwards else (source, target)
        between = [c for c in range(2 * rank[left] + 1, 2 * rank[right]) if c % 2 == 0 or c in labelled]
        slots: list[_Item] = [(index, column) for column in between]
        size.update(dict.fromkeys(slots, Size(0, 4)))
        if label.width:
            size[slots[-1 if index in backwards else 0]] = label
        for column, slot in zip(between, slots, strict=True):
            columns.setdefault(column, []).append(slot)
        chains.append([left, *slots, right])
    for number in labelled:  # at first in the order of the nodes, so that an order without crossings stays as given
        columns[number].sort(key=lambda slot: [given.index(str(chains[int(slot[0])][end])) for end in (0, -1)])
    links = [link for chain in chains for link in pairwise(chain)]
    ordered = _ordered([columns[number] for number in sorted(columns)], links)
    y = _vertical(ordered, links, size)
    boxes: dict[_Item, Box] = {}
    spans: dict[_Item, tuple[float, float]] = {}
    x = 0.0
    for items in ordered:
        pad = _PORT if any(item in nodes for item in items) else 0.0
        span = x, x + 2 * pad + max(size[item].width for item in items)
        for item in items:
            spans[item] = span
            boxes[item] = Box(sum(span) / 2, y[item], size[item].width, size[item].height)
        x = span[1] + min(max([34.0, *(0.2 * abs(y[a] - y[b]) for a, b in links if a in items)]), 90.0)
    routes = [_route(chain, index in backwards, boxes, spans) for index, chain in enumerate(chains)]
    height = max(box.y + box.height / 2 for box in boxes.values())
    return Layout({node: boxes[node] for node in nodes}, tuple(routes), span[1], height)


def _route(
    chain: Sequence[_Item], backwards: bool, boxes: Mapping[_Item, Box], spans: Mapping[_Item, tuple[float, float]]
) -> Route:
    first, last = boxes[chain[0]], boxes[chain[-1]]
    pieces = [(*spans[item], boxes[item].y) for item in chain]
    pieces[0] = (first.x + first.width / 2, *pieces[0][1:])
    pieces[-1] = (pieces[-1][0], last.x - last.width / 2, last.y)
    return Route(tuple(pieces), boxes[chain[-2 if backwards else 1]], backwards)


def _ranks(nodes: Iterable[str], edges: Sequence[tuple[str, str, Size]]) -> tuple[dict[str, int], set[int]]:
    """Length of the longest path to each node, and the edges left out of it because they close a cycle."""
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    backwards: set[int] = set()
    for index, (source, target, _) in enumerate(edges):
        if nx.has_path(graph, target, source):
            backwards.add(index)
        else:
            graph.add_edge(source, target)
    return {n: rank for rank, layer in enumerate(nx.topological_generations(graph)) for n in layer}, backwards


def _neighbours(links: Sequence[tuple[_Item, _Item]], forwards: bool) -> dict[_Item, list[_Item]]:
    near: dict[_Item, list[_Item]] = {}
    for left, right in links:
        near.setdefault(right if forwards else left, []).append(left if forwards else right)
    return near


def _ordered(columns: _Columns, links: Sequence[tuple[_Item, _Item]]) -> _Columns:
    """Fewer crossings: sorts columns by the mean position of their neighbours, to and fro, and keeps the best."""
    best, fewest = columns, _crossings(columns, links)
    for sweep in range(_SWEEPS):
        near = _neighbours(links, sweep % 2 == 0)
        columns = [list(column) for column in columns]
        for column in columns if sweep % 2 == 0 else reversed(columns):
            place = {item: float(i) for c in columns for i, item in enumerate(c)}
            mean = {
                item: sum(place[n] for n in near[item]) / len(near[item]) if item in near else place[item]
                for item in column
            }
            column.sort(key=mean.__getitem__)
        if (crossings := _crossings(columns, links)) < fewest:
            best, fewest = columns, crossings
    return best


def _crossings(columns: _Columns, links: Sequence[tuple[_Item, _Item]]) -> int:
    place = {item: (number, i) for number, column in enumerate(columns) for i, item in enumerate(column)}
    spans = sorted((place[a][0], place[a][1], place[b][1]) for a, b in links)
    count = 0
    for i, (column, a, b) in enumerate(spans):
        for other, c, d in spans[i + 1 :]:
            if other != column:
                break
            count += (a < c and b > d) or (a > c and b < d)
    return count


def _vertical(
    columns: _Columns, links: Sequence[tuple[_Item, _Item]], size: Mapping[_Item, Size]
) -> dict[_Item, float]:
    """Centres: each item as near to its neighbours as the order and the space between items allow."""
    y: dict[_Item, float] = {}
    for column in columns:
        y.update(zip(column, _spread([0.0] * len(column), column, size), strict=True))
    sides = [_neighbours(links, True), _neighbours(links, False)]
    degree = Counter(item for link in links for item in link)
    for sweep in range(2 * _SWEEPS + 1):
        used = sides if sweep == 2 * _SWEEPS else [sides[sweep % 2]]
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wishes = [_mean(y, [n for side in used for n in side.get(item, ())], degree, y[item]) for item in column]
            y.update(zip(column, _spread(wishes, column, size), strict=True))
    top = min(y[item] - size[item].height / 2 for item in y)
    return {item: value - top for item, value in y.items()}


def _mean(y: Mapping[_Item, float], near: Sequence[_Item], degree: Mapping[_Item, int], otherwise: float) -> float:
    """Mean position, in which neighbours with few other links count more."""
    weight = sum(1 / degree[item] for item in near)
    return sum(y[item] / degree[item] for item in near) / weight if near else otherwise


def _spread(wishes: Sequence[float], column: Sequence[_Item], size: Mapping[_Item, Size]) -> list[float]:
    """The centres nearest to the wishes (least squares) that keep order and space: pool adjacent violators."""
    offsets, offset = [], 0.0
    for i, item in enumerate(column):
        if i:
            offset += (size[column[i - 1]].height + size[item].height) / 2 + _SPACE
        offsets.append(offset)
    pools: list[tuple[float, int]] = []  # (sum, count) of wishes that move together
    for wish, shift in zip(wishes, offsets, strict=True):
        total, count = wish - shift, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            more, members = pools.pop()
            total, count = total + more, count + members
        pools.append((total, count))
    means = [total / count for total, count in pools for _ in range(count)]
    return [mean + shift for mean, shift in zip(means, offsets, strict=True)]
