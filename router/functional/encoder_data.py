"""Labelled queries as an encoder learns them: rows of nodes apart from off-topic ones, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from router.errors import DataError
from router.functional.data import LabelledQuery, Split
from router.functional.decision import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EncoderData:
    """Rows of nodes apart from off-topic ones, with labels as positions in ``targets``."""

    def __init__(self, targets: Sequence[Target], rows: Split) -> None:
        import numpy as np

        self.targets = tuple(targets)
        place = {target.node: i for i, target in enumerate(targets)}

        def labels(part: Sequence[LabelledQuery]) -> NDArray[np.int64]:
            return np.array([place[row.node] for row in part if row.node is not None], np.int64)

        self.train = [row for row in rows.train if row.node is not None]
        self.validation = [row for row in rows.validation if row.node is not None]
        # No row stands for abstaining, so off-topic queries serve the threshold only, all of them.
        self.off_topic = [row for row in (*rows.train, *rows.validation) if row.node is None]
        self.train_labels, self.validation_labels = labels(self.train), labels(self.validation)
        for name, part in (("to train on", self.train), ("to validate with", self.validation)):
            if not part:
                raise DataError("the labelled queries", f"rows with a node {name}", "none")
