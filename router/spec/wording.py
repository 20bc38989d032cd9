"""How values and suggestions are put into words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from router.spec.positions import KeyPath

_SECRET = re.compile(r"api.?key|secret|passw|credential|auth|sha256|[_-]token$|^url$", re.IGNORECASE)
_LONGEST = 60


def listed(names: Iterable[str], limit: int = 12) -> str:
    """``a, b, c``; a long list is cut."""
    shown = sorted(names)
    rest = len(shown) - limit
    return ", ".join(shown[:limit]) + (f" and {rest} more" if rest > 0 else "") if shown else "none"


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """The fix for a name that is not known."""
    folded = {candidate.casefold(): candidate for candidate in sorted(known)}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[near[0]]}?" if near else otherwise


def shown(value: object, path: KeyPath = ()) -> str:
    """A short description of a value. What stands at a path that sounds secret is not shown."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if any(isinstance(step, str) and _SECRET.search(step) for step in path):
        return "a hidden value"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    """The text in quotes, on one line, shortened, without control characters."""
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")
