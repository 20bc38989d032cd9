"""Masks of experts in a local engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from experts.engines.checks import check_mask_name
from experts.engines.local.job import Job
from experts.errors import RequestError
from experts.moe.apply import ModelMasks
from experts.moe.blocks import has_experts

if TYPE_CHECKING:
    from experts.moe.mask import ExpertMask
    from experts.moe.shape import MoeShape

Keep = Callable[[Sequence[int]], None]


class Masks:
    """The masks of an engine's model; one without experts never has any.

    Args:
        fingerprint: of the model; asked for when it is first needed, since it takes reading the weights.
    """

    def __init__(self, model: Any, fingerprint: Callable[[], str]) -> None:
        self.possible = has_experts(model)
        self._model = model
        self._fingerprint = fingerprint
        self._masks: ModelMasks | None = None

    @property
    def names(self) -> frozenset[str]:
        return frozenset() if self._masks is None else self._masks.names

    def shape(self) -> MoeShape:
        """What masks have to fit.

        Raises:
            MaskError: the model has no experts.
        """
        return self._made().shape

    def set(self, masks: Mapping[str, ExpertMask]) -> None:
        """Replaces all masks.

        Raises:
            MaskError: one does not fit the model.
        """
        self._made().set(masks)

    def still_known(self, batch: Sequence[Job]) -> list[Job]:
        """The jobs whose masks have not been replaced since they were checked; the others fail."""
        known = []
        for job in batch:
            try:
                check_mask_name(job.request.expert_mask, self.names)
                known.append(job)
            except RequestError as error:
                job.fail(error)
        return known

    @contextmanager
    def applied(self, names: Sequence[str | None]) -> Iterator[Keep]:
        """Within the context row i of a batch has the mask ``names[i]``; yields what to call when rows leave the batch."""
        if self._masks is None:
            yield lambda _rows: None
            return
        with self._masks.applied(names) as rows:
            yield rows.keep

    def _made(self) -> ModelMasks:
        if self._masks is None:
            self._masks = ModelMasks(self._model, self._fingerprint())
        return self._masks
