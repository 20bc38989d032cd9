"""Can the nodes that are to call tools natively do so?"""

from __future__ import annotations

import json
from pathlib import Path

from experts.engines.config import RecordedWorker
from router.spec.check.files import folder_of
from router.spec.models import ExpertNode, GraphSpec
from router.spec.positions import Finding, Findings


def check_native(spec: GraphSpec) -> Findings:
    """Settings that do not go together with native calls."""
    for name, node in spec.nodes.items():
        if not isinstance(node, ExpertNode) or node.tool_format != "native":
            continue
        path, expected = ("nodes", name, "tool_format"), "`tool_format: native` with tools"
        if not node.tools:
            yield Finding(path, expected, "none", "add `tools: [...]`, or remove it")
        for key, given in (("tool_tokens", node.tool_tokens is not None), ("tool_bias", bool(node.tool_bias))):
            if given:
                found, fix = f"`{key}` beside `tool_format: native`", "remove one of the two"
                yield Finding(("nodes", name, key), f"`{key}` only with tool tokens", found, fix)
        if isinstance(spec.workers.get(node.worker), RecordedWorker):
            found = f"the recorded answers of {node.worker}"
            yield Finding(path, "a worker that reads what a tool gave", found, "use engine: local, vllm or scripted")


def check_templates(spec: GraphSpec) -> Findings:
    """Chat templates of models at hand that say nothing of tools; of others the first answer finds out."""
    for name, node in spec.nodes.items():
        if not isinstance(node, ExpertNode) or node.tool_format != "native" or node.worker not in spec.workers:
            continue
        folder = folder_of(spec.workers[node.worker])
        if folder is None or not (folder / "config.json").is_file():
            continue  # another check tells
        if "tools" not in _templates(folder):
            found = f"one of {folder.name} that does not"
            fix = "name a model that was trained for function calling, or use `tool_format: tokens`"
            yield Finding(("nodes", name, "tool_format"), "a chat template that tells the model of tools", found, fix)


def _templates(folder: Path) -> str:
    """The text of all chat templates of a model."""
    files = (folder / "chat_template.jinja", *folder.glob("additional_chat_templates/*.jinja"))
    found = "".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return found
    return found + json.dumps(config.get("chat_template") if isinstance(config, dict) else None)
