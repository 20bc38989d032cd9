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
        instruments = self.tokengraph_instruments
        if instruments is None:
            return None
        return {name: instrument.describe() for name, instrument in instruments.items()}

    def tokengraph_attach(self) -> None:
        """Shows every instrument the runner, before the first request."""
        for instrument in (self.tokengraph_instruments or {}).values():
            instrument.attach(self.model_runner)

    def tokengraph_call(self, instrument: str, method: str, *arguments: Any) -> Any:
        """Calls a method of an instrument."""
        return getattr((self.tokengraph_instruments or {})[instrument], method)(*arguments)

    @property
    def tokengraph_instruments(self) -> Mapping[str, Instrument] | None:
        found: Mapping[str, Instrument] | None = getattr(self.model_runner.get_model(), ATTRIBUTE, None)
        return found
