"""Scalars of a spec: the YAML 1.2 core schema, and the environment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DIGITS = 40  # far beyond any number a spec needs, far below what makes int() slow
_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?)")


def resolve(text: str) -> Scalar:
    """The value of a plain scalar. Only true and false are booleans: yes, no, on and off are text.

    Raises:
        ValueError: a number that is not finite or has more than 40 digits; the message says so.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > _DIGITS:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError("a number beyond the range of floats")
        return number
    return text


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Puts ``${NAME}`` and ``${NAME:-default}`` in; ``$$`` is a dollar sign, a single one stays as it is.

    As in a shell, the default also stands in for a variable that is set but empty.

    Raises:
        KeyError: a variable without default is not set; the argument is its name.
        ValueError: ``${`` begins no reference.
    """

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name, default = match["name"], match["default"]
        if name is None:
            raise ValueError("${ without NAME}")
        if default is not None:
            return environ.get(name) or default
        return environ[name]

    return _REFERENCE.sub(value, text)
