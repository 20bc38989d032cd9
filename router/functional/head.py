"""The token head of an encoder: one row per node, scored against the sentence vector.

``logits = h . E^T / sqrt(d) + b``; a softmax with a temperature over the given targets makes probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from router.errors import TokenHeadError
from router.functional.fit import Rows
from router.functional.head_rivals import Rivals
from router.functional.prior import NodeVectors, Prior
from router.functional.squares import Squares
from router.functional.tokens_file import ROWS_NAME
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_QUERIES, _WON = "rival_queries", "rival_scores"
_DIRECTIONS, _OFFSETS, _MIX = "square_directions", "square_offsets", "square_mix"


@dataclass(frozen=True)
class TokenHead:
    """Rows of nodes, what they started at, and what rows of later nodes are made with.

    Attributes:
        nodes: in the order of the rows.
        rows: E / sqrt(d) and b, so that one product gives the logits. Trained rows may read every layer: then d is
            layers * width, the sentence vector's part last.
        start: the prior rows of the same nodes, E0 / sqrt(width) and b0; they read the sentence vector alone.
        prior: makes rows from descriptions.
        rivals: queries that the rows were trained with; None: a later node's row has to do without a bound.
    """

    nodes: tuple[NodeId, ...]
    rows: Rows
    start: Rows
    prior: Prior
    rivals: Rivals | None = None

    @classmethod
    def from_vectors(cls, vectors: Mapping[NodeId, NodeVectors]) -> TokenHead:
        """A head that knows descriptions and examples only."""
        known = list(vectors.values())
        prior = Prior.fit(known)
        rows = Rows(*prior.rows(known))
        return cls(tuple(vectors), rows, rows, prior)

    @property
    def width(self) -> int:
        """Length of a sentence vector."""
        return len(self.prior.description_centre)

    @property
    def layers(self) -> int:
        """How many unit vectors side by side the rows read."""
        return int(self.rows.weights.shape[1] // self.width)

    def rows_for(self, nodes: Sequence[NodeId], new: Mapping[NodeId, NodeVectors]) -> Rows:
        """Rows [len(nodes), d] of targets in the given order; those in ``new`` get a row from their description.

        The vectors in ``new`` are of as many layers as the rows read. A new row reads the sentence vector alone. It is as
        strong as the queries of the others allow. Without any, its bias rises by as much as training raised the best score
        at the new node's own vectors.
        """
        import numpy as np

        place = {node: i for i, node in enumerate(self.nodes)}
        width = self.rows.weights.shape[1]
        weights, bias = np.empty((len(nodes), width), np.float32), np.empty(len(nodes), np.float32)
        known = [i for i, node in enumerate(nodes) if node not in new]
        chosen = [place[nodes[i]] for i in known]
        weights[known], bias[known] = self.rows.weights[chosen], self.rows.bias[chosen]
        fresh = [i for i, node in enumerate(nodes) if node in new]
        if fresh:
            vectors = [new[nodes[i]] for i in fresh]
            last = [node.last(self.width) for node in vectors]
            weights[fresh] = 0
            if self.rivals is None:
                weights[fresh, -self.width :], bias[fresh] = self.prior.rows(last)
                bias[fresh] += self._rise(vectors)
            else:
                bound = self.rivals.bound(self.prior.offsets(last))
                weights[fresh, -self.width :], bias[fresh] = bound.weights, bound.bias
        squares = self.rows.squares
        if squares is not None:
            squares = squares.of([None if node in new else place[node] for node in nodes])
        return Rows(weights, bias, squares)

    def _rise(self, nodes: Sequence[NodeVectors]) -> NDArray[np.float32]:
        """How much training raised the best score at each node's own vectors, [n]."""
        import numpy as np

        own = [np.concatenate([node.description[None], node.examples]) for node in nodes]
        every = np.concatenate(own)
        rises = self.rows.logits(every).max(1) - self.start.logits(every[:, -self.width :]).max(1)
        ends = np.cumsum([len(vectors) for vectors in own])
        return np.array([max(part.mean(), 0.0) for part in np.split(rises, ends[:-1])], np.float32)

    def save(self, folder: Path, name: str = ROWS_NAME, **more: NDArray[np.float32]) -> None:
        """Writes the rows, by default to ``functional_tokens.safetensors``; ``more`` goes with them."""
        import numpy as np
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "rows": self.rows.weights * _root(self.rows.weights), "bias": self.rows.bias,
            "prior": self.start.weights * _root(self.start.weights), "prior_bias": self.start.bias,
            "description_centre": self.prior.description_centre, "example_centre": self.prior.example_centre,
            "slope": np.array([self.prior.slope], np.float32), "precision": self.prior.precision, **more,
        }  # fmt: skip
        if self.rivals is not None:
            tensors |= {_QUERIES: self.rivals.queries, _WON: self.rivals.won}
        if self.rows.squares is not None:
            squares = self.rows.squares
            tensors |= {_DIRECTIONS: squares.directions, _OFFSETS: squares.offsets, _MIX: squares.mix}
        save_file({key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}, folder / name)

    @classmethod
    def load(cls, folder: Path, nodes: Sequence[NodeId], layers: int = 1, file: str = ROWS_NAME) -> TokenHead:
        """Reads the rows of a tokens folder, in the order of the nodes of its ``TokensFile``, which says the layers.

        Raises:
            TokenHeadError: the file is missing or damaged, or does not have a row for each node.
        """
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = folder / file
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise TokenHeadError(f"{path}: expected rows of tokens, found {error}. Train them again") from error
        count = len(nodes)
        width = tensors["prior"].shape[-1] if "prior" in tensors else 0
        shapes = {
            "rows": (count, layers * width), "bias": (count,), "prior": (count, width), "prior_bias": (count,),
            "description_centre": (width,), "example_centre": (width,), "slope": (1,), "precision": (width, width),
        }  # fmt: skip
        if _QUERIES in tensors:
            shapes |= {_QUERIES: (len(tensors[_QUERIES]), width), _WON: (len(tensors[_QUERIES]),)}
        if _OFFSETS in tensors:
            kept = len(tensors[_OFFSETS])
            shapes |= {_DIRECTIONS: (kept, layers * width), _OFFSETS: (kept,), _MIX: (count, kept)}
        for name, shape in shapes.items():
            found = tensors.get(name)
            if found is None or found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
                what = "none" if found is None else f"{found.dtype} {list(found.shape)}"
                raise TokenHeadError(
                    f"{path}: expected {name} as finite float32 {list(shape)}, found {what}. Train the tokens again"
                )
        values: dict[str, NDArray[np.float32]] = tensors
        prior = Prior(
            values["description_centre"], values["example_centre"], float(values["slope"][0]), values["precision"]
        )
        rows, start = (
            Rows((values[name] / _root(values[name])).astype(np.float32), values[bias])
            for name, bias in (("rows", "bias"), ("prior", "prior_bias"))
        )
        if _OFFSETS in values:
            rows = replace(rows, squares=Squares(values[_DIRECTIONS], values[_OFFSETS], values[_MIX]))
        rivals = Rivals(values[_QUERIES], values[_WON]) if _QUERIES in values else None
        return cls(tuple(nodes), rows, start, prior, rivals)


def _root(rows: NDArray[np.float32]) -> np.float32:
    """sqrt(d) of rows [n, d]."""
    import numpy as np

    return np.float32(math.sqrt(rows.shape[1]))
