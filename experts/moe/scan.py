"""What a scan found: how often each expert was chosen, for each class of prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from experts.errors import MaskError
from experts.moe.activations import Activations
from experts.moe.shape import MoeShape

if TYPE_CHECKING:
    from numpy import float64, int64
    from numpy.typing import NDArray


class _Facts(BaseModel):
    """What stands in a scan's JSON file."""

    model_config = ConfigDict(frozen=True)
    shape: MoeShape
    classes: tuple[str, ...]
    prompts: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Scan:
    """Sums over the prompts of each class.

    Attributes:
        shape: of the model.
        classes: names of the classes, sorted.
        prompts: prompts of each class.
        tokens: tokens of these prompts.
        counts: how often each expert was chosen, int64 [classes, layers, experts].
        weights: sums of the weights that it had then, float64, of the same shape.
    """

    shape: MoeShape
    classes: tuple[str, ...]
    prompts: tuple[int, ...]
    tokens: tuple[int, ...]
    counts: NDArray[int64]
    weights: NDArray[float64]

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers with experts, by their index among all layers: the rows of ``counts`` and ``weights``."""
        return tuple(sorted(self.shape.layers))

    @classmethod
    def of(cls, shape: MoeShape, found: Iterable[tuple[str, Activations]]) -> Scan:
        """The sums of what prompts, each with its class, activated.

        Raises:
            MaskError: there is no prompt.
        """
        groups: dict[str, list[Activations]] = {}
        for name, activations in found:
            groups.setdefault(name, []).append(activations)
        if not groups:
            raise MaskError("expected at least one prompt in a scan, found none. Give prompts")
        classes = tuple(sorted(groups))
        return cls(
            shape=shape, classes=classes,
            prompts=tuple(len(groups[name]) for name in classes),
            tokens=tuple(sum(one.tokens for one in groups[name]) for name in classes),
            counts=np.stack([np.sum([one.counts for one in groups[name]], axis=0) for name in classes]),
            weights=np.stack([np.sum([one.weights for one in groups[name]], axis=0) for name in classes]),
        )  # fmt: skip

    def merged(self, other: Scan) -> Scan:
        """Both scans as one; classes of the same name are added up.

        Raises:
            MaskError: they are scans of different models.
        """
        if self.shape != other.shape:
            mine, theirs = self.shape.fingerprint, other.shape.fingerprint
            raise MaskError(f"expected scans of one model, found fingerprints {mine} and {theirs}. Scan with one model")
        classes = tuple(sorted({*self.classes, *other.classes}))
        parts = [[(scan, scan.index(name)) for scan in (self, other) if name in scan.classes] for name in classes]
        return Scan(
            shape=self.shape, classes=classes,
            prompts=tuple(sum(scan.prompts[at] for scan, at in part) for part in parts),
            tokens=tuple(sum(scan.tokens[at] for scan, at in part) for part in parts),
            counts=np.stack([np.sum([scan.counts[at] for scan, at in part], axis=0) for part in parts]),
            weights=np.stack([np.sum([scan.weights[at] for scan, at in part], axis=0) for part in parts]),
        )  # fmt: skip

    def index(self, name: str) -> int:
        """The place of a class.

        Raises:
            MaskError: the scan has no such class.
        """
        if name not in self.classes:
            raise MaskError(f"expected a class of the scan ({', '.join(self.classes)}), found {name!r}. Correct it")
        return self.classes.index(name)

    def save(self, file: Path) -> None:
        """Writes the sums to ``file`` (safetensors), and beside it what they are of, as JSON."""
        from safetensors.numpy import save_file

        facts = _Facts(shape=self.shape, classes=self.classes, prompts=self.prompts, tokens=self.tokens)
        save_file({"counts": self.counts, "weights": self.weights}, file)
        file.with_suffix(".json").write_text(facts.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Scan:
        """Reads what ``save`` wrote.

        Raises:
            MaskError: a file is missing, or is not of a scan.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(file)  # first: what is missing then is what was asked for
            facts = _Facts.model_validate_json(file.with_suffix(".json").read_bytes())
        except (OSError, ValidationError, SafetensorError) as error:
            raise MaskError(f"expected a scan in {file} and the .json beside it, found: {error}. Scan anew") from error
        expected = (len(facts.classes), len(facts.shape.layers))
        if any(name not in tensors or tensors[name].shape[:2] != expected for name in ("counts", "weights")):
            raise MaskError(f"expected counts and weights of {expected} classes and layers in {file}. Scan anew")
        return cls(
            facts.shape,
            facts.classes,
            facts.prompts,
            facts.tokens,
            counts=tensors["counts"],
            weights=tensors["weights"],
        )
