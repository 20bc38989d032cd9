"""Functional tokens from descriptions: the vectors that a node starts at, and that training pulls towards.

"Re-Initialization Token Learning" starts a token at the average encoding of its description. Here a node also has
example queries, and two things make plain averages poor rows: descriptions are written in another style than queries,
and most of what varies between queries says nothing about the node. So this is a regularised linear discriminant
(Friedman, "Regularized Discriminant Analysis", 1989): descriptions and examples are centred apart, a description counts
as ``_DESCRIPTION_WEIGHT`` examples after it was scaled to the spread of examples, and the rows are
``precision . (mean - centre)``, the bias ``-1/2 (mean - centre) . row``, with the shared covariance of the examples
within nodes, shrunk towards a multiple of the identity.

With one description a node and no examples this is the nearest centred description.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from router.functional.calibrate import fit_temperature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DESCRIPTION_WEIGHT = 10.0  # best where some nodes have 20 examples and some none
_SPREAD = 0.6  # squared spread of unit sentence vectors within a node, for want of examples to measure it
_DEFAULT_TEMPERATURE = 24.0  # of discriminants that have no examples to calibrate on


@dataclass(frozen=True)
class NodeVectors:
    """What a node is known by, encoded: ``description`` [d], ``examples`` [k, d] (k may be 0)."""

    description: NDArray[np.float32]
    examples: NDArray[np.float32]

    def last(self, width: int) -> NodeVectors:
        """The last ``width`` dimensions: the sentence vectors, where those of all layers stand side by side."""
        return NodeVectors(self.description[-width:], self.examples[:, -width:])


@dataclass(frozen=True)
class Prior:
    """Turns descriptions and examples into rows; keeps what a node added later needs.

    Attributes:
        description_centre: mean description, float32 [d].
        example_centre: mean of the nodes' mean examples, float32 [d].
        slope: how far an example mean moves per unit of description.
        precision: inverse covariance within nodes, divided by the temperature that calibrates it, float32 [d, d].
    """

    description_centre: NDArray[np.float32]
    example_centre: NDArray[np.float32]
    slope: float
    precision: NDArray[np.float32]

    @classmethod
    def fit(cls, nodes: Sequence[NodeVectors]) -> Prior:
        """Measures centres, covariance and temperature on all nodes together (at least one).

        The temperature is the one that fits every second example when the prior knows the others only, and back. Examples
        are clearer than real queries, so as many as there are nodes count as doubtful.
        """
        import numpy as np

        prior = cls._discriminant(nodes)
        even = [NodeVectors(node.description, node.examples[0::2]) for node in nodes]
        odd = [NodeVectors(node.description, node.examples[1::2]) for node in nodes]
        if len(nodes) < 2 or not any(len(node.examples) for node in odd):
            return prior._cooled(_DEFAULT_TEMPERATURE)
        logits, labels = [], []
        for known, asked in ((even, odd), (odd, even)):
            rows, bias = cls._discriminant(known).rows(known)
            logits += [node.examples @ rows.T + bias for node in asked]
            labels += [np.full(len(node.examples), i) for i, node in enumerate(asked)]
        return prior._cooled(fit_temperature(np.concatenate(logits), np.concatenate(labels), doubt=len(nodes)))

    @classmethod
    def _discriminant(cls, nodes: Sequence[NodeVectors]) -> Prior:
        """Centres and covariance; the precision is not calibrated yet."""
        import numpy as np

        descriptions = np.stack([node.description for node in nodes]).astype(np.float64)
        description_centre = descriptions.mean(0)
        known = [i for i, node in enumerate(nodes) if len(node.examples)]
        width = descriptions.shape[1]
        if not known:
            precision = np.eye(width) * width / _SPREAD
            return cls(_f32(description_centre), _f32(description_centre), 1.0, _f32(precision))
        means = np.stack([nodes[i].examples.mean(0, dtype=np.float64) for i in known])
        offsets = descriptions[known] - description_centre
        spread = float((offsets**2).sum())
        slope = min(max(float(((means - means.mean(0)) * offsets).sum()) / spread, 0.0), 1.0) if spread else 0.0
        # The nodes that have examples may be unlike the rest; what their descriptions predict is taken out.
        example_centre = (means - slope * offsets).mean(0)
        residuals = np.concatenate([nodes[i].examples - mean for i, mean in zip(known, means, strict=True)])
        precision = np.linalg.inv(_shrunk_covariance(residuals, freedom=len(residuals) - len(known)))
        return cls(_f32(description_centre), _f32(example_centre), slope, _f32(precision))

    def _cooled(self, temperature: float) -> Prior:
        return replace(self, precision=self.precision * float(1 / temperature))

    def rows(self, nodes: Sequence[NodeVectors]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rows [n, d] and biases [n] such that ``h . rows^T + bias`` are a node's logits for unit vectors h.

        The nodes need not be the ones that the prior was fitted on.
        """
        import numpy as np

        offsets = self.offsets(nodes)
        rows = offsets @ self.precision
        return rows, -np.einsum("nd,nd->n", rows, offsets / 2 + self.example_centre)

    def offsets(self, nodes: Sequence[NodeVectors]) -> NDArray[np.float32]:
        """Where the nodes' queries are, seen from the centre of all: by descriptions and examples, [n, d]."""
        import numpy as np

        descriptions = np.stack([node.description for node in nodes]) - self.description_centre
        counts = np.array([len(node.examples) for node in nodes], dtype=np.float32)[:, None]
        sums = np.stack([(node.examples - self.example_centre).sum(0) for node in nodes])
        weight = np.float32(_DESCRIPTION_WEIGHT)
        offsets: NDArray[np.float32] = (weight * np.float32(self.slope) * descriptions + sums) / (weight + counts)
        return offsets


def _shrunk_covariance(residuals: NDArray[np.float64], freedom: int) -> NDArray[np.float64]:
    import numpy as np

    width = residuals.shape[1]
    if freedom <= 0:
        assumed: NDArray[np.float64] = np.eye(width) * _SPREAD / width
        return assumed
    covariance = residuals.T @ residuals / freedom
    identity_share = width / (width + freedom)
    identity = np.eye(width) * np.trace(covariance) / width
    shrunk: NDArray[np.float64] = (1 - identity_share) * covariance + identity_share * identity
    return shrunk


def _f32(values: NDArray[np.floating]) -> NDArray[np.float32]:
    import numpy as np

    return values.astype(np.float32)
