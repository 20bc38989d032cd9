"""The instrument ``masks``: masks of experts inside vLLM, for each request its own.

Each layer's router is asked what it chooses, as ever; for rows of requests with a mask its answer is replaced by that of
``experts.moe.routing``, which the local engine uses too. All of it reads tensors that are written in place, so it also
holds in a recorded CUDA graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experts.moe.mask import ExpertMask
from experts.moe.tables import PARTS, MaskTables
from experts.vllm_plugin.counting import Counter
from experts.vllm_plugin.moe_layers import MoeLayer, find_layers
from experts.vllm_plugin.steps import Span, watch_steps

SLOT = "tokengraph_slot"  # the argument of a request under which admission puts the slot of its mask
SLOTS = "slots"  # the setting: masks at once, at most
_DEFAULT_SLOTS = 32


def install(model: Any, vllm_config: Any, settings: Mapping[str, Any]) -> MaskInstrument:
    """Puts the instrument into a model.

    Raises:
        MaskError: its experts cannot be masked.
    """
    scheduler = vllm_config.scheduler_config
    device = next(model.parameters()).device
    return MaskInstrument(
        find_layers(model, vllm_config),
        slots=int(settings.get(SLOTS, _DEFAULT_SLOTS)),
        # Batches may be padded to the next size for which there is a graph.
        rows=max(scheduler.max_num_batched_tokens, scheduler.max_num_seqs) + 512,
        recorded=not vllm_config.model_config.enforce_eager,
        device=device,
    )


class MaskInstrument:
    """Masks in slots, and which slot each row of a forward pass uses; slot 0 is for rows without a mask.

    Args:
        slots: masks at once, at most.
        rows: of a forward pass at most.
        recorded: forward passes may be recorded and replayed, so nothing may depend on what a batch holds.
    """

    def __init__(self, layers: Sequence[MoeLayer], slots: int, rows: int, recorded: bool, device: torch.device) -> None:
        self._layers = tuple(layers)
        self._slots = slots
        self._recorded = recorded
        first = self._layers[0]
        self._tables = MaskTables([layer.index for layer in layers], first.experts, slots + 1, device)
        self._counter = Counter(len(layers), first.experts, first.rule.top_k, rows, device)
        self._slot_of_row = torch.zeros(rows, dtype=torch.int64, device=device)
        self._filled = False
        self._used: frozenset[int] = frozenset()
        self._uniform: slice | None = None
        for place, layer in enumerate(self._layers):
            layer.router._compute_routing = partial(self._route, place, layer.router._compute_routing)

    def describe(self) -> dict[str, Any]:
        return {"layers": {str(one.index): one.shape.model_dump() for one in self._layers}, "slots": self._slots}

    def attach(self, runner: Any) -> None:
        watch_steps(runner, self._before_step)

    def write(self, slot: int, mask: str) -> None:
        """Puts a mask (JSON), which must fit the model, into a slot that no running request uses."""
        self._tables.write(slot, ExpertMask.parse(mask, f"slot {slot}"))

    def open_scan(self, scan: str) -> None:
        """Begins a scan."""
        self._counter.open(scan)

    def close_scan(self, scan: str) -> dict[str, Any]:
        """Ends a scan, see ``Counter.close``."""
        return self._counter.close(scan)

    def _before_step(self, spans: Sequence[Span]) -> None:
        self._counter.before_step(spans)
        if not spans:
            return
        slots = [span.arguments.get(SLOT, 0) for span in spans]
        used = frozenset(slots)
        if not self._recorded:
            self._used = used
            if len(used) == 1:
                self._uniform = slice(slots[0], slots[0] + 1)
                return
            self._uniform = None
        if used != {0} or self._filled:
            lengths = [span.stop - span.start for span in spans]
            rows = torch.tensor(slots).repeat_interleave(torch.tensor(lengths))
            self._slot_of_row[: len(rows)].copy_(rows)
            self._slot_of_row[len(rows) :].zero_()
        self._filled = used != {0}

    def _route(
        self, place: int, original: Any, hidden: Tensor, logits: Tensor, dtype: Any = None, **named: Any
    ) -> tuple[Tensor, Tensor]:
        layer = self._layers[place]
        # A graph is recorded once for all batches, so it does everything.
        parts = None if self._recorded else self._tables.parts(place, self._used)
        if parts and self._uniform is not None:
            weights, ids = self._tables.choose(place, self._uniform, logits, layer.rule, parts)
            ids = ids.to(torch.int32 if dtype is None else dtype)
        else:
            weights, ids = original(hidden, logits, dtype, **named)
            if parts or self._recorded:
                rows = self._slot_of_row[: len(ids)]
                chosen = self._tables.choose(place, rows, logits, layer.rule, parts or PARTS)
                weights, ids = self._tables.merge(place, rows, chosen, (weights, ids))
        if self._recorded or not self._counter.idle:
            self._counter.record(place, weights * layer.later, ids)
        return weights, ids
