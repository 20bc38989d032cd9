"""What of a model a mask has to fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict


class LayerShape(BaseModel):
    """A layer's experts.

    Attributes:
        experts: number of them.
        top_k: chosen per token.
        groups: equal groups that they are divided into.
        groups_chosen: groups whose experts can be chosen for a token.
    """

    model_config = ConfigDict(frozen=True)
    experts: int
    top_k: int
    groups: int = 1
    groups_chosen: int = 1

    def group_of(self, expert: int) -> int:
        """The group that an expert is in."""
        return expert * self.groups // self.experts

    def choosable(self, off: Collection[int], force: Collection[int] = ()) -> int:
        """Experts among which a token can choose in the worst case, when some are never and some always chosen.

        Groups are compared by their best two: those with a forced expert come first, those with two experts left or
        more before those with one, and empty ones last.
        """
        left = [self.experts // self.groups] * self.groups
        for expert in off:
            left[self.group_of(expert)] -= 1
        forced = {self.group_of(expert) for expert in force}
        groups = sorted(range(self.groups), key=lambda group: (group not in forced, -min(left[group], 2), left[group]))
        return sum(left[group] for group in groups[: self.groups_chosen])


class MoeShape(BaseModel):
    """The layers of a model that have experts, by their index among all layers.

    Attributes:
        fingerprint: of the model's files (``EngineInfo.fingerprint``).
    """

    model_config = ConfigDict(frozen=True)
    fingerprint: str
    layers: Mapping[int, LayerShape]

    @property
    def experts(self) -> int:
        """Experts of all layers together."""
        return sum(layer.experts for layer in self.layers.values())
