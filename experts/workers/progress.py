"""How far a server is, read from what vLLM writes while it starts."""

from __future__ import annotations

import re

_STEPS = (
    (re.compile(r"non-default args"), "reading the model's configuration"),
    (re.compile(r"Fetching \d+ files:\s+(\d+%)"), "downloading the model"),
    (re.compile(r"Initializing a V\d LLM engine"), "starting the engine"),
    (re.compile(r"Starting to load model"), "loading the model"),
    (re.compile(r"Loading [\w ]*checkpoint shards:\s+(\d+%)"), "loading the weights"),
    (re.compile(r"Dynamo bytecode transform|Compiling a graph|torch\.compile takes"), "compiling"),
    (re.compile(r"KV cache size"), "warming up"),
    (re.compile(r"Capturing CUDA graphs[^:]*:\s+(\d+%)"), "capturing CUDA graphs"),
    (re.compile(r"Starting vLLM server"), "opening the port"),
)


def step_of(log: str) -> str:
    """What a starting server does now, such as ``loading the weights 50%``."""
    last = max(
        ((match.start(), name, match) for pattern, name in _STEPS for match in pattern.finditer(log)), default=None
    )
    if last is None:
        return "importing vLLM"
    _, name, match = last
    return f"{name} {match[1]}" if match.re.groups else name
