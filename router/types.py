"""Names shared by everything that decides."""

from __future__ import annotations

from typing import NewType

NodeId = NewType("NodeId", str)
WorkerId = NewType("WorkerId", str)
