"""Where each part of a spec stands in its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from router.errors import Location, SpecProblem

_T = TypeVar("_T")

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the root of a document: ``("nodes", "master", "worker")``."""


def dotted(path: KeyPath) -> str:
    """``nodes.master.worker`` or ``edges[2].to``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


@dataclass
class Positions:
    """Places by key path.

    Attributes:
        root: the place to name when there is no better one.
        keys: where a key stands (list items have none).
        scalars: where a value that is not a mapping or a list stands.
        items: where the item of a list begins.
        written: the text as written, for values in which the environment was inserted.
    """

    root: Location
    keys: dict[KeyPath, Location] = field(default_factory=dict)
    scalars: dict[KeyPath, Location] = field(default_factory=dict)
    items: dict[KeyPath, Location] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)

    def key(self, path: KeyPath) -> Location:
        """The place of the key, else of the nearest thing around it."""
        for end in range(len(path), 0, -1):
            for places in (self.keys, self.items):
                if (place := places.get(path[:end])) is not None:
                    return place
        return self.root

    def value(self, path: KeyPath) -> Location:
        """The place of the value: a scalar's own, and for a mapping or a list that of its key."""
        return self.scalars.get(path) or self.key(path)

    def add(self, other: Positions, moved: Mapping[KeyPath, KeyPath]) -> None:
        """Takes over from ``other`` everything at or under the keys of ``moved`` (of one or two steps), so renamed."""
        _copy(other.keys, self.keys, moved)
        _copy(other.scalars, self.scalars, moved)
        _copy(other.items, self.items, moved)
        _copy(other.written, self.written, moved)


def _copy(source: Mapping[KeyPath, _T], target: dict[KeyPath, _T], moved: Mapping[KeyPath, KeyPath]) -> None:
    for path, what in source.items():
        for size in (1, 2):
            if len(path) >= size and (to := moved.get(path[:size])) is not None:
                target[to + path[size:]] = what


@dataclass(frozen=True)
class Finding:
    """Something wrong at a key path: a ``SpecProblem`` that does not know its file yet.

    Attributes:
        on_key: the key itself is wrong, not its value.
    """

    path: KeyPath
    expected: str
    found: str
    fix: str
    on_key: bool = False

    def __str__(self) -> str:
        return f"{dotted(self.path)}: expected {self.expected}, found {self.found}. Fix: {self.fix}"

    def located(self, positions: Positions) -> SpecProblem:
        """The problem in its place. A value that came from the environment, perhaps a secret, is not shown."""
        if self.on_key:
            return SpecProblem(positions.key(self.path), dotted(self.path), self.expected, self.found, self.fix)
        written = positions.written.get(self.path)
        found = self.found if written is None else f"another value of {written!r}"
        return SpecProblem(positions.value(self.path), dotted(self.path), self.expected, found, self.fix)


Findings = Iterator[Finding]
