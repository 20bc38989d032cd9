"""Labelled queries: JSON lines of ``{"query" | "messages", "node", "reformulated"?, "split"?}``.

``node: null`` marks an off-topic query, which no node should get.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from experts.engines.requests import Message
from router.errors import DataError, Location
from router.json_lines import read_rows
from router.types import NodeId

_VALIDATION_SHARE = 0.15
_FEW = 5  # a node with fewer rows keeps them all for training


@dataclass(frozen=True)
class LabelledQuery:
    """A dialogue and the node that should get it; ``node`` is None if none should."""

    messages: tuple[Message, ...]
    node: NodeId | None
    reformulated: str | None = None
    split: Literal["train", "validation"] | None = None

    @property
    def query(self) -> str:
        """The last user turn."""
        return next(message.content for message in reversed(self.messages) if message.role == "user")


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")
    query: str | None = None
    messages: list[_Turn] | None = None
    node: str | None
    reformulated: str | None = None
    split: Literal["train", "validation"] | None = None

    @model_validator(mode="after")
    def _one_dialogue(self) -> _Row:
        if (self.query is None) == (self.messages is None):
            raise ValueError("either query or messages is needed, not both")
        asked = [turn for turn in self.messages or () if turn.role == "user" and turn.content.strip()]
        if self.messages is not None and not asked:
            raise ValueError("messages need a user turn that is not empty")
        if self.query is not None and not self.query.strip():
            raise ValueError("the query is empty")
        return self


def read_labelled(path: Path, nodes: Iterable[NodeId]) -> list[LabelledQuery]:
    """Reads a file of labelled queries; blank lines are skipped.

    Args:
        nodes: the names that rows may have.

    Raises:
        DataError: the file is missing, not JSON lines, has a row that is wrong, names an unknown node, or has no rows.
    """
    known = list(nodes)
    rows = [_query(row, where, known) for row, where in read_rows(path, _Row, '{"query": ..., "node": ...}')]
    if not rows:
        raise DataError(str(path), "at least one labelled query", "an empty file")
    return rows


def _query(row: _Row, where: Location, nodes: Sequence[NodeId]) -> LabelledQuery:
    if row.node is not None and row.node not in nodes:
        close = difflib.get_close_matches(row.node, nodes, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise DataError(where, f"one of the nodes {', '.join(nodes)}, or null", f"{row.node!r}{hint}")
    turns = row.messages or [_Turn(role="user", content=row.query or "")]
    messages = tuple(Message(turn.role, turn.content) for turn in turns)
    return LabelledQuery(messages, None if row.node is None else NodeId(row.node), row.reformulated, row.split)


@dataclass(frozen=True)
class Split:
    """Rows to train on, and rows to measure with."""

    train: tuple[LabelledQuery, ...]
    validation: tuple[LabelledQuery, ...]


def split_rows(rows: Sequence[LabelledQuery], share: float = _VALIDATION_SHARE) -> Split:
    """Splits by the rows' own ``split``, else by a hash of the query: a row stays where it is when others are added.

    Where no row says ``validation``, about ``share`` of them validate; equal queries stay together, and a node with
    fewer than five rows keeps them all for training.
    """
    if any(row.split == "validation" for row in rows):
        validates = [row.split == "validation" for row in rows]
    else:
        count = Counter(row.node for row in rows)
        validates = [row.split is None and count[row.node] >= _FEW and _place(row) < share for row in rows]
        if not any(validates) and len(rows) > 1:  # something must be measured
            largest = count.most_common(1)[0][0]
            first = min((row for row in rows if row.node == largest), key=_place)
            validates = [row.node == largest and row.query == first.query for row in rows]
    return Split(
        tuple(row for row, held in zip(rows, validates, strict=True) if not held),
        tuple(row for row, held in zip(rows, validates, strict=True) if held),
    )


def _place(row: LabelledQuery) -> float:
    """A number in [0, 1) that depends on the query alone."""
    digest = hashlib.blake2b(row.query.strip().lower().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
