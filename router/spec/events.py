"""YAML text -> parser events of one document, of bounded depth."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from router.errors import Location, SpecError, SpecProblem

MAX_DEPTH = 40
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def events(text: str, file: str, keys: str) -> Iterator[yaml.Event]:
    """The events of the values and of the ends of collections.

    Args:
        keys: what an empty file should at least have.

    Raises:
        SpecError: no YAML, an empty file, a second document, or more than 40 levels.
    """
    text = text.removeprefix("\ufeff")
    if bad := _UNPRINTABLE.search(text):
        where = Location(file, text.count("\n", 0, bad.start()) + 1, bad.start() - text.rfind("\n", 0, bad.start()))
        fix = "remove it; is this a YAML file?"
        raise _error(where, "printable text", f"the character {bad.group()!a}", fix)
    try:
        yield from _single_document(text, file, keys)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file, 1, 1)
        found = ", ".join(part for part in (error.context, error.problem) if part)
        fix = "correct it; often the cause is a missing quote, a tab or the indentation just before this place"
        if mark and "${" in "".join(text.splitlines()[mark.line : mark.line + 1]):
            fix = 'put "${NAME}" in quotes: inside { } and [ ] its braces belong to YAML'
        raise _error(where, "valid YAML", found, fix) from None


def _single_document(text: str, file: str, keys: str) -> Iterator[yaml.Event]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = documents = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _error(place(event, file), "one document", "a second one", "use one file for each")
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _error(place(event, file), f"at most {MAX_DEPTH} levels", "more", "nest less deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, (yaml.NodeEvent, yaml.CollectionEndEvent)):
            yield event
    if not documents:
        raise _error(Location(file, 1, 1), f"a mapping ({keys})", "an empty file", f"write at least {keys}")


def place(event: yaml.Event, file: str) -> Location:
    """Where an event starts."""
    mark = event.start_mark
    return Location(file, mark.line + 1, mark.column + 1) if mark else Location(file, 1, 1)


def _error(where: Location, expected: str, found: str, fix: str) -> SpecError:
    return SpecError((SpecProblem(where, "", expected, found, fix),))
