"""Rows of tool tokens: what they start from, and how they are fitted to examples.

A row competes with the whole vocabulary, and starts from the average of the model's own final states over the tool's name
and description. For a model that was trained to read such averages as rows (it has the token ``<tool>``) that is the row,
as in "Re-Initialization Token Learning". For any other model it is a poor one: it has another scale than the vocabulary's
rows, and most of it is common to all texts. There the averages, and the states at the examples' calls, make a
discriminant between the tools (`router.functional.prior`), and the examples say how high the rows have to be.

Training minimises the cross-entropy of the tool at places of calls and of the vocabulary, as one more outcome, at places
of ordinary text; the arguments and the result of a call are left out ("ToolkenGPT"). Rows keep to where they started by
lambda * ||W - W0||^2, lambda by cross-validation over whole examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from router.functional.calibrate import log_loss
from router.functional.fit import LAMBDAS, Rows, fit_rows
from router.functional.head import TokenHead
from router.functional.head_rivals import Rivals
from router.functional.prior import NodeVectors
from router.tools.tokens.file import ToolHead
from router.tools.tokens.states import States
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SHIFTS = 4.0  # nats between the shifts that are tried
_HIGHEST = 10


@dataclass(frozen=True)
class Places:
    """Where tool tokens compete, in examples.

    Attributes:
        states: at each place.
        labels: the number of the tool that is called there; the number of tools: none [n].
        examples: the number of the example that each place is from [n].
    """

    states: States
    labels: NDArray[np.int64]
    examples: NDArray[np.int64]


@dataclass(frozen=True)
class FittedHead:
    """A fitted head.

    Attributes:
        length: what states are divided by.
    """

    head: ToolHead
    regularisation: float
    length: float

    def rows(self) -> Rows:
        """Rows and biases of the tools in order, for states divided by ``length``."""
        return whole_rows(self.head, self.head.head.nodes)


def untrained(vectors: Mapping[str, NodeVectors], length: float, *, reads: bool) -> ToolHead:
    """The head of descriptions alone.

    Args:
        vectors: of the tools in order.
        length: what states are divided by.
        reads: the model reads averages of descriptions as rows.
    """
    import numpy as np

    head = TokenHead.from_vectors(
        {NodeId(name): replace(found, description=_unit(found.description)) for name, found in vectors.items()}
    )
    if reads:
        rows = _averages(list(vectors.values()), length)
        head = replace(head, rows=rows, start=rows)
    return ToolHead(head, np.zeros(head.width, np.float32), 0.0, reads)


def fit_head(
    places: Places, vectors: Mapping[str, NodeVectors], *, reads: bool,
    lambdas: Sequence[float] = LAMBDAS, seed: int = 0,
) -> FittedHead:  # fmt: skip
    """Fits the rows of tools to examples.

    Args:
        vectors: what the tools are known by, in the order of the labels.
        reads: see `untrained`.
        lambdas: see `fit_rows`.
    """
    import numpy as np

    tools = len(vectors)
    called = places.labels < tools
    length = float(np.linalg.norm(places.states.hidden, axis=1).mean())
    features = (places.states.hidden / np.float32(length)).astype(np.float32)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    known = {
        name: replace(found, examples=units[called & (places.labels == number)])
        for number, (name, found) in enumerate(vectors.items())
    }
    made = untrained(known, length, reads=reads)
    start = made.head.rows
    shift = _best_shift(start, features, places)
    start = replace(start, bias=start.bias + np.float32(shift))
    fitted = fit_rows(
        features, places.labels, start, rest=places.states.rest, groups=places.examples, lambdas=lambdas, seed=seed
    )
    rows = fitted.rows
    # What training gave to all rows alike is theirs in common, so that a tool added later has it too.
    moved = (rows.weights - start.weights).mean(0)
    raised = float((rows.bias - start.bias).mean()) + shift
    common, own = made.common + moved, rows.weights - (made.common + moved)
    own_rows = Rows(own.astype(np.float32), (rows.bias - np.float32(made.shift + raised)).astype(np.float32))
    calls, texts = (
        Rivals.of(features[some], places.labels[some], replace(fitted, held_out_logits=fitted.held_out_logits[some]))
        for some in (called, ~called)
    )
    tools_own = replace(made.head, rows=own_rows, rivals=calls)
    head = ToolHead(tools_own, common.astype(np.float32), made.shift + raised, reads, texts)
    return FittedHead(head, fitted.regularisation, length)


def whole_rows(head: ToolHead, tools: Sequence[str]) -> Rows:
    """Rows and biases of tools that the head knows, in the given order, for states divided by its length."""
    import numpy as np

    own = head.head.rows_for([NodeId(name) for name in tools], {})
    return Rows(own.weights + head.common, own.bias + np.float32(head.shift))


def later_rows(head: ToolHead, vectors: Mapping[str, NodeVectors], length: float) -> Rows:
    """Rows and biases of tools that the head does not know, from their descriptions.

    A row is as strong as the examples allow that the head was fitted to: it takes few of the calls to other tools, and of the
    places of ordinary text. Without enough of them, it shares what training gave to all rows alike.
    """
    import numpy as np

    found = {NodeId(n): replace(v, description=_unit(v.description)) for n, v in vectors.items()}
    if head.head.rivals is not None:
        rows = head.head.rows_for(list(found), found)
        if head.texts is not None:
            rows = replace(rows, bias=np.minimum(rows.bias, head.texts.height(rows.weights)))
        return rows
    own = _averages(list(vectors.values()), length) if head.reads else head.head.rows_for(list(found), found)
    return Rows(own.weights + head.common, own.bias + np.float32(head.shift))


def _averages(vectors: Sequence[NodeVectors], length: float) -> Rows:
    import numpy as np

    weights = np.stack([found.description for found in vectors]) * np.float32(length)
    return Rows(weights.astype(np.float32), np.zeros(len(vectors), np.float32))


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    unit: NDArray[np.float32] = vector / np.float32(np.linalg.norm(vector))
    return unit


def _best_shift(start: Rows, features: NDArray[np.float32], places: Places) -> float:
    """What the untrained rows' biases are to be raised by together, so that they call as often as the examples do."""
    import numpy as np

    own, rest = start.logits(features), places.states.rest[:, None]

    def loss(shift: float) -> float:
        return log_loss(np.concatenate([own + np.float32(shift), rest], axis=1), places.labels)

    step, best = _SHIFTS, 0.0
    for _ in range(5):  # coarse, then finer around the best
        best = min((best + step * at for at in range(-_HIGHEST, _HIGHEST + 1)), key=loss)
        step /= 4
    return best
