"""What may be put into a loaded model, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

SETTINGS = "tokengraph"  # the key of vLLM's additional_config under which the plugin's settings stand
ATTRIBUTE = "tokengraph_instruments"  # the attribute of an instrumented model


class Instrument(Protocol):
    """Something that was put into a model; it must not change what the model computes until it is told to."""

    def describe(self) -> dict[str, Any]:
        """Facts about it, as plain JSON types: they cross vLLM's process boundary."""
        ...

    def attach(self, runner: Any) -> None:
        """Takes note of the model runner that the model is in; called once, before the first request."""
        ...


Install = Callable[[Any, Any, Mapping[str, Any]], Instrument]
"""``install(model, vllm_config, settings)`` puts an instrument into a model that has just been loaded."""


def _masks(model: Any, vllm_config: Any, settings: Mapping[str, Any]) -> Instrument:
    from experts.vllm_plugin.masks import install

    return install(model, vllm_config, settings)


def _defer(model: Any, vllm_config: Any, settings: Mapping[str, Any]) -> Instrument:
    from experts.vllm_plugin.defer import install

    return install(model, vllm_config, settings)


INSTRUMENTS: dict[str, Install] = {"masks": _masks, "defer": _defer}


def install_all(model: Any, vllm_config: Any, settings: Mapping[str, Any]) -> dict[str, Instrument]:
    """Installs the instruments that the settings name; each gets its own part of them.

    Raises:
        EngineError: there is no instrument of that name.
    """
    from experts.errors import EngineError

    if unknown := sorted(set(settings) - set(INSTRUMENTS)):
        known = ", ".join(sorted(INSTRUMENTS)) or "none in this version"
        raise EngineError(
            f"expected instruments of the tokengraph plugin ({known}) in additional_config, found {', '.join(unknown)}. "
            "Use the same version of tokengraph to start the server and inside it"
        )
    return {name: INSTRUMENTS[name](model, vllm_config, part) for name, part in settings.items()}
