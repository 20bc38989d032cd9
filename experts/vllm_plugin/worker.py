"""``--worker-extension-cls``: what vLLM's worker processes answer over its RPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experts.vllm_plugin.instrument import ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experts.vllm_plugin.instrument import Instrument


class WorkerExtension:
    """Mixed into vLLM's worker class. Its methods start with ``tokengraph_``, and only plain JSON types cross the RPC."""

    model_runner: Any

    def tokengraph_describe(self) -> dict[str, Any] | None:
        """Every instrument's description by name; None if the model was not loaded by the plugin's loader."""
        instruments: Mapping[str, Instrument] | None = getattr(self.model_runner.get_model(), ATTRIBUTE, None)
        if instruments is None:
            return None
        return {name: instrument.describe() for name, instrument in instruments.items()}
