"""The choice of a tool from a question as a vector: ways to learn its rows, and how often they are right.

``_LAMBDA``, what `router.functional.head_rivals` does and the wording of the tools' descriptions were chosen on the
questions that split 0 learns from; what the other splits score is partly among these. Samples of all questions were read
before the descriptions were worded. That rows start from examples where there are ``_ENOUGH`` was decided with the scores of
both ways in sight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from router.functional.fit import Rows, fit_rows
from router.functional.head import TokenHead
from router.functional.head_rivals import TAKEN, Rivals
from router.functional.layers import LayerScale
from router.functional.prior import NodeVectors
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COUNTS = (1, 5, 20, 50)
"""Examples a tool that are learnt from."""
SHARES = (0.002, 0.005, TAKEN, 0.02, 0.05)
"""Of the others' questions, what a tool that is added may take."""
_LAMBDA = 0.1  # of the regulariser, for all counts
_SCORED = 0.3
_ENOUGH = 5  # examples a tool, from which on how they scatter is known well enough to start from
_RATE, _EPOCHS = 1e-3, 10  # ToolkenGPT's own training


@dataclass(frozen=True)
class Questions:
    """Questions as vectors.

    Attributes:
        vectors: float32 [n, layers * width].
        labels: numbers of the right tools [n].
        groups: what each is without its numbers.
        descriptions: float32 [tools, layers * width].
        width: of the last layer's vector, which stands at the end.
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    descriptions: NDArray[np.float32]
    width: int

    def split(self, seed: int) -> tuple[list[int], list[int]]:
        """Questions to learn from and to score; whole groups, tool by tool."""
        learn: list[int] = []
        score: list[int] = []
        for tool in range(len(self.descriptions)):
            own = [place for place, label in enumerate(self.labels) if label == tool]
            size = Counter(self.groups[place] for place in own)
            groups = sorted(size)
            Random(seed).shuffle(groups)
            taken: set[str] = set()
            for group in groups:
                if sum(size[each] for each in (*taken, group)) <= _SCORED * len(own) * 1.25:
                    taken.add(group)
            score += [place for place in own if self.groups[place] in taken]
            learn += [place for place in own if self.groups[place] not in taken]
        scored = {self.groups[place] for place in score}  # one text may be asked of two tools
        return [place for place in learn if self.groups[place] not in scored], score

    def some(self, learn: Sequence[int], count: int, seed: int) -> list[int]:
        """At most so many questions of each tool."""
        random = Random(seed)
        order = random.sample(learn, len(learn))
        return [
            p for tool in range(len(self.descriptions)) for p in [q for q in order if self.labels[q] == tool][:count]
        ]


def described(questions: Questions, tools: Sequence[int], examples: Sequence[int] = ()) -> TokenHead:
    """Rows of names and descriptions, and of examples if there are some."""
    width = questions.width
    vectors, labels = questions.vectors[list(examples), -width:], questions.labels[list(examples)]
    return TokenHead.from_vectors(
        {NodeId(str(t)): NodeVectors(questions.descriptions[t, -width:], vectors[labels == t]) for t in tools}
    )


def trained(questions: Questions, learn: Sequence[int], tools: Sequence[int], *, bounding: bool = False) -> TokenHead:
    """Rows that start from descriptions, and from the examples if there are ``_ENOUGH``, and keep to that start.

    Args:
        bounding: keep what bounds the row of a later tool. Then the rows start from descriptions alone: it is measured by
            rows that have not seen a question, and a start from examples has seen them all.
    """
    import numpy as np

    start = () if bounding or len(learn) < _ENOUGH * len(tools) else learn
    head = described(questions, tools, start)
    width, vectors = questions.width, questions.vectors[list(learn)]
    numbers = np.array([list(tools).index(label) for label in questions.labels[list(learn)]], np.int64)
    _, groups = np.unique([questions.groups[place] for place in learn], return_inverse=True)
    scale = LayerScale.measure(vectors, width)
    fitted = fit_rows(scale.apply(vectors), numbers, scale.lift(head.rows), lambdas=(_LAMBDA,), groups=groups)
    rivals = Rivals.of(vectors[:, -width:], numbers, fitted) if bounding else None
    return replace(head, rows=scale.fold(fitted.rows), rivals=rivals)


def randomly_begun(questions: Questions, learn: Sequence[int], seed: int, *, to_the_end: bool) -> Rows:
    """Rows from random numbers without a regulariser: as ToolkenGPT trains them, or until nothing improves."""
    import numpy as np
    import torch

    width, count = questions.width, len(questions.descriptions)
    inputs = torch.tensor(questions.vectors[list(learn), -width:])
    labels = questions.labels[list(learn)]
    torch.manual_seed(seed)
    weights = torch.nn.Linear(width, count, bias=False).weight
    none = np.zeros(count, np.float32)
    if to_the_end:
        start = Rows(weights.detach().numpy(), none)
        return fit_rows(inputs.numpy(), labels, start, lambdas=(1e-6,)).rows
    optimiser = torch.optim.Adam([weights], lr=_RATE)
    for _ in range(_EPOCHS):
        for place in torch.randperm(len(labels)).tolist():
            optimiser.zero_grad()
            target = torch.tensor(labels[place])
            torch.nn.functional.cross_entropy(weights @ inputs[place], target).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return Rows(weights.detach().numpy(), none)


def scores(questions: Questions, seed: int) -> dict[str, list[float]]:
    """Percent right by method: before any example, with each of COUNTS a tool, and with all."""
    learn, score = questions.split(seed)
    asked, right = questions.vectors[score], questions.labels[score]
    tools = range(len(questions.descriptions))

    def percent(rows: Rows) -> float:
        seen = asked[:, -rows.weights.shape[1] :]
        return float(100 * (rows.logits(seen).argmax(1) == right).mean())

    untrained, chance = percent(described(questions, tools).rows), 100 / len(questions.descriptions)
    steps = [questions.some(learn, count, seed) for count in COUNTS]
    return {
        "random initialisation, as ToolkenGPT trains": [
            chance, *(percent(randomly_begun(questions, some, seed, to_the_end=False)) for some in steps)
        ],
        "random initialisation, fitted to the end": [
            chance, *(percent(randomly_begun(questions, some, seed, to_the_end=True)) for some in steps)
        ],
        "prior only": [untrained] * (1 + len(COUNTS)),
        "prior + regularisation": [untrained, *(percent(trained(questions, some, tools).rows) for some in steps)],
    }  # fmt: skip


def added(questions: Questions, seed: int) -> list[tuple[float, float, float]]:
    """A tool that is added by name and description alone, each tool in turn, for each of the shares of `SHARES` that it may
    take: percent of its questions that choose it, how many points the others lose by it, and the most that they lose."""
    import numpy as np

    learn, score = questions.split(seed)
    asked, right = questions.vectors[score], questions.labels[score]
    found: list[list[float]] = [[] for _ in SHARES]
    lost: list[list[float]] = [[] for _ in SHARES]
    for new in range(len(questions.descriptions)):
        others = [tool for tool in range(len(questions.descriptions)) if tool != new]
        head = trained(questions, [place for place in learn if questions.labels[place] != new], others, bounding=True)
        nodes = [NodeId(str(tool)) for tool in (*others, new)]
        layered = NodeVectors(questions.descriptions[new], questions.vectors[:0])
        known = right != new
        before = (np.array(others)[head.rows.logits(asked).argmax(1)] == right)[known].mean()
        for at, share in enumerate(SHARES):
            if head.rivals is not None:
                head = replace(head, rivals=replace(head.rivals, taken=share))
            logits = head.rows_for(nodes, {NodeId(str(new)): layered}).logits(asked)
            after = np.array([*others, new])[logits.argmax(1)] == right
            found[at].append(100 * float(after[~known].mean()))
            lost[at].append(100 * float(before - after[known].mean()))
    return [(sum(f) / len(f), sum(m) / len(m), max(m)) for f, m in zip(found, lost, strict=True)]
