"""``--logits-processors``: where vLLM lets the instrument ``defer`` refuse tokens, after restrictions and before drawing.

vLLM's two model runners want logits processors of different base classes; this one is of both. That of GPUs (V2) has not
been run with it. vLLM takes no logits processors together with speculative decoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor.interface import LogitsProcessor as FirstProcessor
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor as SecondProcessor

if TYPE_CHECKING:
    from torch import Tensor

    from experts.vllm_plugin.defer import DeferInstrument

PROCESSOR = "experts.vllm_plugin.defer_processor:DeferProcessor"


class DeferProcessor(FirstProcessor, SecondProcessor):
    """Does nothing until an instrument is bound to it."""

    def __init__(self, *_: Any) -> None:
        self.instrument: DeferInstrument | None = None

    def apply(self, logits: Tensor, *_: Any) -> Tensor:
        return logits if self.instrument is None else self.instrument.refuse(logits)

    def is_argmax_invariant(self) -> bool:
        """The first runner's; False: it changes what is most probable."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """The first runner's; the instrument sees the batch itself."""

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """The second runner's; whether the request's logits may be changed."""
        from experts.vllm_plugin.defer import DEFER

        return DEFER in (sampling_params.extra_args or {})


def bind(runner: Any, instrument: DeferInstrument) -> bool:
    """Gives the processor in a model runner its instrument; whether there is one."""
    second = hasattr(runner, "model_state")
    processors = runner.sampler.logits_processors if second else runner.input_batch.logitsprocs.all
    found = [processor for processor in processors if isinstance(processor, DeferProcessor)]
    for processor in found:
        processor.instrument = instrument
    return bool(found)
