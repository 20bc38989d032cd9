"""A graph with a tiny mixture of experts, and masks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from experts.engines.local.checkpoint import fingerprint
from experts.moe.mask import ExpertMask
from tests.experts.moe.models import mask, save


def mixture_graph(folder: Path) -> Path:
    """Writes model, masks and spec; the node ``masked`` has the mask ``off`` and may be asked for ``forced``."""
    print_of = fingerprint(save(folder / "mixture", "qwen3_moe"))
    made = {
        "off": mask("off", fingerprint=print_of, l1={"off": [0, 5, 9, 14]}, l2={"off": [1, 2, 3, 7, 11, 15]}),
        "forced": mask("forced", fingerprint=print_of, l1={"force": [6]}, l2={"force": [1, 9]}),
        "foreign": mask("foreign", fingerprint="0" * 32, l1={"off": [3]}),
    }
    for name, one in made.items():
        one.save(folder / f"{name}.json")
    node = {"kind": "expert", "worker": "moe", "max_tokens": 8}
    masked = node | {"expert_mask": "off.json", "expert_masks": ["forced.json"]}
    return write(folder / "graph.yaml", {"plain": node, "masked": masked})


def write(file: Path, nodes: dict[str, Any], **workers: Any) -> Path:
    """A spec of nodes that the first one hands its answers on to if it fails."""
    names = list(nodes)
    edges = [{"from": names[0], "to": name, "when": "error"} for name in names[1:]]
    moe = {"moe": {"engine": "local", "model": "./mixture"}}
    content = {"name": "mixture", "entry": names[0], "workers": moe | workers, "nodes": nodes, "edges": edges}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def load(folder: Path, name: str) -> ExpertMask:
    """One of the masks."""
    return ExpertMask.load(folder / f"{name}.json")
