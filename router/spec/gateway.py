"""The part of a graph spec that belongs to the gateway: who may ask, and how dialogues keep to their node."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Positive = Annotated[int, Field(gt=0)]


class ApiKey(BaseModel):
    """A key of the gateway and what it may use; None is no bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[\w.-]+$", description="how logs and metrics call it")
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="hash of the key: printf %s KEY | sha256sum"
    )  # fmt: skip
    variable: str | None = Field(None, description="or the environment variable that holds the key")
    requests_per_minute: _Positive | None = None
    tokens_per_minute: _Positive | None = Field(None, description="read and written, all nodes together")
    budget: _Positive | None = Field(
        None, description="tokens in all: since the server was started, or since the file of serve --spending was made"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> ApiKey:
        if (self.sha256 is None) == (self.variable is None):
            raise ValueError("either sha256 or variable")
        return self


class GatewaySpec(BaseModel):
    """How `tokengraph serve` serves this graph."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    keys: tuple[ApiKey, ...] = Field((), description="who may ask; without keys, everybody who reaches the port")
    affinity: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2, description="a dialogue changes its node only for one that is more probable by this much"
    )
