"""Tables for docs/, with the command, the machine, the seed and the date that made them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True)
class Table:
    """A table: column heads, then rows of as many cells. Numbers are shown with one decimal."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cells) + " |"

        body = [line([c if isinstance(c, str) else f"{c:.1f}" for c in row]) for row in self.rows]
        rule = line(["---"] + ["---:"] * (len(self.heads) - 1))
        note = f"\n{self.note}\n" if self.note else ""
        return "\n".join([f"## {self.title}", "", line(self.heads), rule, *body, note])


def machine() -> str:
    """The processor as a person would name it."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def write_report(path: Path, title: str, command: str, tables: Sequence[Table], *, seed: int) -> None:
    """Writes a page of tables."""
    head = f"# {title}\n\nMade by `{command}`; seed {seed}; {machine()}; {date.today().isoformat()}.\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *(table.markdown() for table in tables)]), encoding="utf-8")
