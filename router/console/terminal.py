"""The two consoles, and how texts and quantities are written on them."""

from __future__ import annotations

import json
import os
import sys
from typing import Literal

from rich.console import Console

_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_CONTROLS |= {0x7F: "\u2421", **dict.fromkeys(range(0x80, 0xA0), "\ufffd")}


def console(*, stderr: bool = False) -> Console:
    """Standard output or error: plain text where that is no terminal, or where NO_COLOR is set."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(stderr=stderr, width=width, color_system=colours, highlight=False, markup=False, emoji=False)


def printable(text: str) -> str:
    """Text whose control characters cannot steer a terminal: they become visible symbols."""
    return text.translate(_CONTROLS)


def one_line(text: str, most: int = 400) -> str:
    """Text on one line, its middle left out if it is longer than ``most`` characters."""
    text = printable(" ".join(text.split()))
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {text[-most // 2 :]} ({len(text):,} characters)"


def write_answer(text: str) -> None:
    """Writes to standard output: exactly the text into a pipe, printable text to a terminal."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_json(value: object) -> None:
    """Writes JSON to standard output: on one line into a pipe, indented to a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    write_answer(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def note(text: str) -> None:
    """Writes a remark to standard error."""
    console(stderr=True).print(printable(text), style="dim", soft_wrap=True)


def quantity(count: float) -> str:
    """A large number in three digits: 1.2M."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.3g}"


def duration(milliseconds: float) -> str:
    """12 ms, or 3.4 s."""
    return f"{milliseconds:.0f} ms" if milliseconds < 999.5 else f"{milliseconds / 1000:.1f} s"
