"""The entry points through which vLLM finds the plugin (``vllm.general_plugins``, in every process of a server)."""

from __future__ import annotations


def register() -> None:
    """Makes the load format known. vLLM may call it more than once in a process, and calls it for servers of others too:
    so it changes nothing, and versions are checked when the format is used."""
    from vllm.model_executor.model_loader import register_model_loader

    from experts.vllm_plugin.loader import TokengraphLoader

    register_model_loader("tokengraph")(TokengraphLoader)
