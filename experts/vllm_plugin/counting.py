"""Counts, inside vLLM, which experts the prompts of scans choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from experts.vllm_plugin.steps import Span

SCAN = "tokengraph_scan"  # the argument of a request under which admission puts the scan and the request's key in it


class Counter:
    """Keeps what each layer chose in the last forward pass, and adds it up for requests that belong to a scan.

    Only tokens of prompts count, and each once, also if vLLM computes it again after it preempted a request.

    Args:
        layers: layers with experts.
        experts: number of experts in each.
        top_k: experts per token.
        rows: of a forward pass at most.
    """

    def __init__(self, layers: int, experts: int, top_k: int, rows: int, device: torch.device) -> None:
        self._shape = (layers, experts)
        self._ids = torch.zeros(layers, rows, top_k, dtype=torch.int64, device=device)
        self._weights = torch.zeros(layers, rows, top_k, dtype=torch.float32, device=device)
        self._last: tuple[Span, ...] = ()
        self._scans: dict[str, dict[str, _Prompt]] = {}

    @property
    def idle(self) -> bool:
        """Whether no request of the coming forward pass belongs to a scan."""
        return not self._last

    def open(self, scan: str) -> None:
        """Begins a scan."""
        self._scans[scan] = {}

    def close(self, scan: str) -> dict[str, Any]:
        """Ends a scan: by the key of each request its counts and weights, [layers, experts], and its counted tokens."""
        self._add_last()
        return {key: prompt.plain() for key, prompt in self._scans.pop(scan, {}).items()}

    def before_step(self, spans: Sequence[Span]) -> None:
        """To be called before each forward pass."""
        self._add_last()
        self._last = tuple(span for span in spans if SCAN in span.arguments and span.position < span.prompt_tokens)

    def record(self, layer: int, weights: Tensor, ids: Tensor) -> None:
        """Keeps what a layer chose, [rows, top_k]."""
        self._ids[layer, : len(ids)].copy_(ids)
        self._weights[layer, : len(ids)].copy_(weights)

    def _add_last(self) -> None:
        for span in self._last:
            scan, key = span.arguments[SCAN]
            if scan not in self._scans:  # closed meanwhile
                continue
            prompt = self._scans[scan].setdefault(key, _Prompt(*self._shape))
            skipped = max(prompt.tokens - span.position, 0)
            end = min(span.stop, span.start + span.prompt_tokens - span.position)
            rows = slice(span.start + skipped, end)
            prompt.add(
                self._weights[:, rows].flatten(1).double().cpu(), self._ids[:, rows].flatten(1).cpu(), end - rows.start
            )
        self._last = ()


class _Prompt:
    """The sums of one prompt."""

    def __init__(self, layers: int, experts: int) -> None:
        self.tokens = 0
        self._counts = torch.zeros(layers, experts, dtype=torch.int64)
        self._weights = torch.zeros(layers, experts, dtype=torch.float64)

    def add(self, weights: Tensor, ids: Tensor, tokens: int) -> None:
        if tokens > 0:
            self.tokens += tokens
            self._counts.scatter_add_(1, ids, torch.ones_like(ids))
            self._weights.scatter_add_(1, ids, weights)

    def plain(self) -> dict[str, Any]:
        return {"counts": self._counts.tolist(), "weights": self._weights.tolist(), "tokens": self.tokens}
