"""What all parts of a request's body have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """Read strictly; fields that mean nothing here are accepted, as OpenAI does."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
