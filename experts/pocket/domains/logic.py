"""Logic: the truth value of an expression made of true, false, and, or, not and brackets."""

from __future__ import annotations

import re
from random import Random

from experts.pocket.domains.base import Domain, Problem, Task

_LONGEST_WORKING = 60
_DEEPEST = 3
_BINDING = {"|": 1, "&": 2, "!": 3}
_LEAF = 4  # binds tighter than any operator
_GROUP = re.compile(r"\([^()]*\)")
_RULES = (
    (re.compile(r"![tf]"), lambda m: "f" if m[0] == "!t" else "t"),
    (re.compile(r"[tf](?:&[tf])+"), lambda m: "f" if "f" in m[0] else "t"),
    (re.compile(r"[tf](?:\|[tf])+"), lambda m: "t" if "t" in m[0] else "f"),
)
_WORDS = {"t": "true", "f": "false", "!": "not ", "&": " and ", "|": " or "}
_STYLES: tuple[tuple[float, dict[str, str]], ...] = (
    (60, _WORDS),
    (8, _WORDS | {"t": "True", "f": "False"}),
    (6, {"t": "TRUE", "f": "FALSE", "!": "NOT ", "&": " AND ", "|": " OR "}),
    (6, _WORDS | {"!": "NOT ", "&": " AND ", "|": " OR "}),
    (6, _WORDS | {"t": "T", "f": "F"}),
    (6, _WORDS | {"!": "!", "&": " && ", "|": " || "}),
    (3, _WORDS | {"!": "!", "&": " & ", "|": " | "}),
    (3, {"t": "t", "f": "f", "!": "!", "&": " & ", "|": " | "}),
    (2, {"t": "T", "f": "F", "!": "!", "&": "&&", "|": "||"}),
)


def _bracketed(text: str, binding: int, needed: int, rng: Random) -> str:
    """The text, in brackets where precedence needs them or, for an operator, now and then a person's caution."""
    cautious = 0.2 if binding == _BINDING["!"] else 0.5
    return f"({text})" if binding < needed or (binding < _LEAF and rng.random() < cautious) else text


def _draw(leaves: int, depth: int, rng: Random) -> tuple[str, int]:
    """A random expression and how tightly it binds, or an empty one if so many leaves do not fit the depth."""
    if leaves == 1 and (depth == 0 or rng.random() < 0.7):
        return rng.choice("tf"), _LEAF
    if depth == 0:
        return "", _LEAF
    if leaves == 1 or rng.random() < 0.15:
        text, binding = _draw(leaves, depth - 1, rng)
        if binding == _BINDING["!"] and rng.random() < 0.7:
            return "", _LEAF  # double negation is rare
        needed = _BINDING["!"] if binding == _BINDING["!"] else _LEAF
        return (f"!{_bracketed(text, binding, needed, rng)}", _BINDING["!"]) if text else ("", _LEAF)
    operator = rng.choice("&|")
    cuts = sorted(rng.sample(range(1, leaves), rng.choice((1, 1, 1, 2)) if leaves > 2 else 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, leaves], strict=True)]
    parts = [_draw(size, depth - 1, rng) for size in sizes]
    if not all(text for text, _ in parts):
        return "", _LEAF
    needed = _BINDING[operator] + 1
    return operator.join(_bracketed(*part, needed, rng) for part in parts), _BINDING[operator]


def reduce_once(text: str) -> str:
    """Rewrites every innermost group by the first rule (not, and, or) that applies to any of them."""
    groups = [m.span() for m in _GROUP.finditer(text)] or [(0, len(text))]
    for pattern, value in _RULES:
        if any(pattern.search(text[a:b]) for a, b in groups):
            for a, b in reversed(groups):
                text = text[:a] + pattern.sub(value, text[a:b]) + text[b:]
            break
    return re.sub(r"\(([tf])\)", r"\1", text)


def solve(canonical: str) -> tuple[str, str]:
    """The working, one rewriting after another, and the answer."""
    steps = [canonical]
    while len(steps[-1]) > 1:
        steps.append(reduce_once(steps[-1]))
    return ">".join(steps[1:] or steps) + "=", "true" if steps[-1] == "t" else "false"


def _surface(canonical: str, rng: Random) -> str:
    """The expression as typed: words mostly, symbols now and then."""
    weights, styles = zip(*_STYLES, strict=True)
    style = rng.choices(styles, weights)[0]
    text = "".join(style.get(char, char) for char in canonical)
    if rng.random() < 0.06:
        text = text.replace("(", "( ").replace(")", " )")
    return f'"{text}"' if rng.random() < 0.04 else text


def _problem(leaves: int, rng: Random) -> Problem:
    wanted = rng.choice(("true", "false"))
    while True:
        canonical, _ = _draw(leaves, rng.choice((1, 2, 2, 3, _DEEPEST)), rng)
        if not canonical or (len(canonical) == 1 and rng.random() < 0.9):
            continue
        working, answer = solve(canonical)
        if answer == wanted and len(working) <= _LONGEST_WORKING:
            return Problem({"e": _surface(canonical, rng)}, canonical, answer, working)


def sample_evaluate_small(rng: Random) -> Problem:
    """One or two truth values: too few expressions to hold any out."""
    return _problem(rng.choices((1, 2), (1, 5))[0], rng)


def sample_evaluate(rng: Random) -> Problem:
    """Three to six truth values."""
    return _problem(rng.choices((3, 4, 5, 6), (45, 30, 15, 10))[0], rng)


DOMAIN = Domain(
    name="logic",
    description="Truth values of expressions over true, false, and, or, not and brackets.",
    tasks=(
        Task("evaluate_small", sample_evaluate_small, holds_out=False),
        Task("evaluate", sample_evaluate),
    ),
    weights={"evaluate_small": 1.0, "evaluate": 2.0},
)
