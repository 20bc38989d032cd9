"""A mask of experts, and the file that it is kept in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from experts.errors import MaskError

Id = Annotated[int, Field(ge=0)]
Ids = Annotated[tuple[Id, ...], AfterValidator(lambda ids: tuple(sorted(set(ids))))]
# A softmax or sigmoid score moves far less than this; more would only cost precision.
Bias = Annotated[float, Field(ge=-10_000, le=10_000, allow_inf_nan=False)]


class LayerMask(BaseModel):
    """What changes in one layer.

    Attributes:
        off: experts that take no part.
        force: experts that are chosen for every token.
        bias: added to what experts are chosen by: to the gate's logit, or, where a model scores by the sigmoid, to the score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    off: Ids = ()
    force: Ids = ()
    bias: Mapping[Id, Bias] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if both := sorted(set(self.off) & set(self.force)):
            raise ValueError(f"expected an expert in off or in force, found {both} in both. Remove it from one")
        return self

    @property
    def experts(self) -> tuple[int, ...]:
        """All experts that it names."""
        return tuple(sorted({*self.off, *self.force, *self.bias}))


class ExpertMask(BaseModel):
    """Experts switched off, forced or biased, by layer.

    Attributes:
        name: what requests call it.
        fingerprint: of the model that it was made for.
        mode: ``before``: experts are off before the choice, and others take their places. ``after``: their weight goes to
            the other chosen experts after it, so that fewer take part.
        made: how it was made, for people.
        layers: by the layer's index among all layers of the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    fingerprint: str = Field(min_length=1)
    mode: Literal["before", "after"] = "before"
    made: Mapping[str, str | int | float | bool] = Field(default_factory=dict)
    layers: Mapping[Id, LayerMask] = Field(default_factory=dict)

    @property
    def size(self) -> int:
        """Experts that it names, in all layers."""
        return sum(len(layer.experts) for layer in self.layers.values())

    @property
    def digest(self) -> str:
        """A hash of what it does: equal masks have equal ones, whatever they are called."""
        content = json.dumps(self.model_dump(mode="json", include={"fingerprint", "mode", "layers"}), sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def save(self, file: Path) -> None:
        """Writes JSON with one line for each layer, so that a person can read and edit it."""
        content = self.model_dump(mode="json")
        layers = content.pop("layers")
        head = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in content.items()]
        rows = [
            f"    {json.dumps(index)}: {json.dumps({key: value for key, value in layers[index].items() if value})}"
            for index in sorted(layers, key=int)
        ]
        body = ['  "layers": {', ",\n".join(rows), "  }"] if rows else ['  "layers": {}']
        file.write_text("\n".join(["{", *head, *body, "}", ""]), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads such a file.

        Raises:
            MaskError: there is none, or it does not hold a mask.
        """
        try:
            return cls.parse(file.read_bytes(), str(file))
        except OSError as error:
            raise MaskError(
                f"expected a mask of experts in {file}, found {error.strerror}. Correct the path"
            ) from error

    @classmethod
    def parse(cls, content: bytes | str, source: str) -> Self:
        """A mask from JSON.

        Raises:
            MaskError: it is something else; the message names the field.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}" for problem in error.errors()
            )
            raise MaskError(f"expected a mask of experts in {source}, found: {problems}. Correct it") from error
