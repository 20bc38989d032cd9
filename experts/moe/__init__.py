"""Expert masks: which experts of a mixture take part, found, chosen and changed without training.

A scan counts which experts a model chooses for labelled prompts (`scan`, `collect`), scores compare classes of prompts
(`score`), a selection becomes a mask (`select`, `mask`), and the mask changes what layers choose: in a transformers model
(`apply`) and inside vLLM (``experts.vllm_plugin.masks``), both by the one rule of `routing`.
"""
