"""YAML text -> plain data, with the position of every key path.

Built from parser events rather than with a stock loader: that gives exact positions, reports repeated keys, and bounds
the size before anything grows (an alias is replayed, so a bomb of aliases runs into the bound).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from router.errors import Location, SpecError, SpecProblem
from router.spec.events import MAX_DEPTH, events, place
from router.spec.positions import KeyPath, Positions, dotted
from router.spec.scalars import Scalar, resolve, substitute
from router.spec.wording import quoted, shown

_MAX_VALUES = 50_000
_CORE = "tag:yaml.org,2002:"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Document:
    """One YAML file. ``problems`` are those that do not keep the rest from being read."""

    data: dict[str, object]
    positions: Positions
    problems: list[SpecProblem] = field(default_factory=list)


def read_document(text: str, file: str, environ: Mapping[str, str], keys: str = "`entry:` and `nodes:`") -> Document:
    """Parses one document whose root is a mapping.

    Args:
        keys: what it should at least have; for what to do if it is no mapping.

    Raises:
        SpecError: with one problem, when the text cannot be read to its end.
    """
    builder = _Builder(file, environ, list(events(text, file, keys)))
    data = builder.value((), 0)
    if not isinstance(data, dict):
        raise builder.fatal(
            builder.root, f"a mapping ({keys})", f"{shown(data)} at the top", "write `key: value` lines"
        )
    return Document(data, builder.positions, builder.problems)


class _Builder:
    def __init__(self, file: str, environ: Mapping[str, str], events: list[yaml.Event]) -> None:
        self.file, self.environ = file, environ
        self.root = Location(file, 1, 1)
        self.positions = Positions(self.root)
        self.problems: list[SpecProblem] = []
        self._events = events
        self._next = 0
        self._count = 0
        self._anchors: dict[str, int] = {}

    def value(self, path: KeyPath, depth: int) -> object:
        """Builds the value that begins at the next event."""
        start, event = self._next, self._events[self._next]
        self._next += 1
        self._count += 1
        if self._count > _MAX_VALUES or depth > MAX_DEPTH:
            limit = f"at most {_MAX_VALUES} values in {MAX_DEPTH} levels"
            raise self.fatal(place(event, self.file), limit, "more", "use fewer aliases")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, depth)
        self._check_tag(event, path)
        value: object
        if isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(path, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path, depth)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            self.positions.scalars[path] = place(event, self.file)
            value = self._scalar(event, path)
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            self._anchors[event.anchor] = start
        return value

    def _alias(self, event: yaml.AliasEvent, path: KeyPath, depth: int) -> object:
        if event.anchor not in self._anchors:
            expected, fix = "an anchor that is complete before its alias", f"define &{event.anchor} first"
            raise self.fatal(place(event, self.file), expected, f"*{event.anchor}", fix)
        after, self._next = self._next, self._anchors[event.anchor]
        value = self.value(path, depth + 1)
        self._next = after
        return value

    def _mapping(self, path: KeyPath, depth: int) -> dict[str, object]:
        mapping: dict[str, object] = {}
        while not isinstance(self._events[self._next], yaml.MappingEndEvent):
            event = self._events[self._next]
            where = place(event, self.file)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.fatal(where, "a key of plain text", "a mapping, a list or an alias as key", "write a name")
            self._next += 1
            self._check_tag(event, path)
            key, under = event.value, (*path, event.value)
            if _SURROGATE.search(key):
                raise self.fatal(where, "text", "half of a surrogate pair", "write the character itself")
            if key in mapping:
                found = f"{quoted(key)} again, first in line {self.positions.keys[under].line}"
                self._problem(where, under, "each key once", found, "remove one")
                kept, self.positions = self.positions, Positions(self.root)
                self.value(under, depth + 1)  # the first one stands; this one is read for its own problems
                self.positions = kept
                continue
            self.positions.keys[under] = where
            mapping[key] = self.value(under, depth + 1)
        self._next += 1
        return mapping

    def _sequence(self, path: KeyPath, depth: int) -> list[object]:
        sequence: list[object] = []
        while not isinstance(event := self._events[self._next], yaml.SequenceEndEvent):
            under = (*path, len(sequence))
            self.positions.items[under] = place(event, self.file)
            sequence.append(self.value(under, depth + 1))
        self._next += 1
        return sequence

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> Scalar:
        where = self.positions.scalars[path]
        if _SURROGATE.search(event.value):
            self._problem(where, path, "text", "half of a surrogate pair", "write the character itself")
            return ""
        if event.tag == f"{_CORE}str" or (event.tag in (None, "!") and not event.implicit[0]):
            value: Scalar = event.value
        else:
            try:
                value = resolve(event.value)
            except ValueError as error:
                fix = "write such a number, or put it in quotes"
                self._problem(where, path, "a finite number of at most 40 digits", str(error), fix)
                return event.value
        return self._substituted(value, path) if isinstance(value, str) else value

    def _substituted(self, text: str, path: KeyPath) -> str:
        where = self.positions.value(path)
        try:
            value = substitute(text, self.environ)
        except KeyError as error:
            name = error.args[0]
            fix = f"export {name}, or write ${{{name}:-default}}"
            self._problem(where, path, f"the environment variable {name}", "that it is not set", fix)
            return text
        except ValueError:
            fix = "close the brace, or write $${ for the characters themselves"
            self._problem(where, path, "${NAME} or ${NAME:-default}", quoted(text), fix)
            return text
        if value != text:
            self.positions.written[path] = text
        return value

    def _check_tag(self, event: yaml.Event, path: KeyPath) -> None:
        kind = (
            ["map"] if isinstance(event, yaml.MappingStartEvent)
            else ["seq"] if isinstance(event, yaml.SequenceStartEvent)
            else ["str", "int", "float", "bool", "null"]
        )  # fmt: skip
        tag = getattr(event, "tag", None) or "!"
        if tag not in ("!", *(_CORE + name for name in kind)):
            expected = "no tag, or one of " + ", ".join(f"!!{name}" for name in kind)
            self._problem(place(event, self.file), path, expected, quoted(tag), "remove the tag")

    def _problem(self, where: Location, path: KeyPath, expected: str, found: str, fix: str) -> None:
        self.problems.append(SpecProblem(where, dotted(path), expected, found, fix))

    def fatal(self, where: Location, expected: str, found: str, fix: str) -> SpecError:
        return SpecError((*self.problems, SpecProblem(where, "", expected, found, fix)))
