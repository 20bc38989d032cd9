"""``--load-format tokengraph``: vLLM's default loader, after which the model is instrumented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vllm import __version__
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

from experts.vllm_plugin.instrument import ATTRIBUTE, SETTINGS, install_all
from experts.vllm_plugin.versions import check_version


class TokengraphLoader(DefaultModelLoader):
    """Loads as ``--load-format auto`` does.

    The settings come in ``--additional-config``, which is part of the key of vLLM's compile cache; the load format is
    not, so a difference in it alone could give a model the graph that was compiled for another.

    Raises:
        EngineError: this version of vLLM was not tested, or the settings name an unknown instrument.
    """

    def __init__(self, load_config: Any) -> None:
        check_version(__version__)
        # The parent refuses load formats that it does not know.
        super().__init__(replace(load_config, load_format="auto"))

    def load_model(self, vllm_config: Any, model_config: Any, prefix: str = "") -> Any:
        """The loaded model, its instruments in the attribute ``tokengraph_instruments``."""
        model = super().load_model(vllm_config, model_config, prefix)
        settings = (vllm_config.additional_config or {}).get(SETTINGS, {})
        setattr(model, ATTRIBUTE, install_all(model, vllm_config, settings))
        return model
