"""Are the files there that a spec names, and do the tokenizers of a pair agree?"""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path

from experts.engines.config import LocalWorker, RecordedWorker, VllmWorker, WorkerSpec
from experts.errors import CheckpointError
from router.spec.models import GraphSpec, TokenPairNode
from router.spec.positions import Finding, Findings, KeyPath
from router.spec.tools import BuiltinTools
from router.spec.wording import did_you_mean, listed, quoted

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_files(spec: GraphSpec) -> Findings:
    """Problems of the files that a spec names."""
    for name, worker in spec.workers.items():
        path: KeyPath = ("workers", name)
        if isinstance(worker, RecordedWorker):
            if not os.path.isfile(worker.file):  # Path.is_file raises for impossible names
                yield Finding(
                    (*path, "file"),
                    "a file of recorded answers",
                    f"none in {quoted(str(worker.file))}",
                    "correct the path",
                )
        elif isinstance(worker, (LocalWorker, VllmWorker)) and not _elsewhere(worker):
            yield from _check_model((*path, "model"), worker.model)
            for adapter, folder in worker.adapters.items():
                if not os.path.isdir(folder):
                    found = f"none in {quoted(str(folder))}"
                    yield Finding(
                        (*path, "adapters", adapter), "a folder with a LoRA adapter", found, "correct the path"
                    )
    for index, source in enumerate(spec.tools):
        for place, file in enumerate(source.files if isinstance(source, BuiltinTools) else ()):
            if not os.path.isfile(file):
                found = f"none in {quoted(str(file))}"
                yield Finding(
                    ("tools", index, "files", place), "a CSV, SQLite or DuckDB file", found, "correct the path"
                )
    for node_id, node in spec.nodes.items():
        if isinstance(node, TokenPairNode):
            small, large = spec.workers.get(node.small), spec.workers.get(node.large)
            if small is not None and large is not None:
                yield from _check_pair(("nodes", node_id, "large"), small, large)


def _elsewhere(worker: WorkerSpec) -> bool:
    """A running server has its own file system."""
    return isinstance(worker, VllmWorker) and bool(worker.attached)


def _check_model(path: KeyPath, model: str) -> Findings:
    if model.startswith("pocket:"):
        from experts.pocket import WEIGHTS

        known = [f"pocket:{config.parent.name}" for config in WEIGHTS.glob("*/config.json")]
        if model not in known:
            fix = did_you_mean(model, known, f"there are: {listed(known)}")
            yield Finding(path, "a model that ships with tokengraph", quoted(model), fix)
    elif os.path.isabs(model):
        if not os.path.isfile(os.path.join(model, "config.json")):
            found = f"{quoted(model)}, " + ("which has none" if os.path.isdir(model) else "which does not exist")
            fix = "correct the path; it counts from the folder of the file that contains it"
            yield Finding(path, "a model's folder, with a config.json", found, fix)
    elif not _HUB_ID.fullmatch(model):
        fix = "begin a path with ./, or write OWNER/NAME, or pocket:NAME"
        yield Finding(path, "a Hugging Face id, a folder that exists, or pocket:NAME", quoted(model), fix)


def folder_of(worker: WorkerSpec) -> Path | None:
    """The folder of a worker's model, if it is at hand."""
    if not isinstance(worker, (LocalWorker, VllmWorker)) or _elsewhere(worker):
        return None
    if worker.model.startswith("pocket:"):
        from experts.pocket import resolve

        try:
            return resolve(worker.model.removeprefix("pocket:"))
        except CheckpointError:
            return None  # already reported
    return Path(worker.model) if os.path.isabs(worker.model) else None


def _check_pair(path: KeyPath, small: WorkerSpec, large: WorkerSpec) -> Findings:
    """Token ids pass between the two models, so each id must mean the same to both."""
    files = [folder / "tokenizer.json" for folder in map(folder_of, (small, large)) if folder is not None]
    if len(files) < 2 or not all(map(os.path.isfile, files)):
        return  # not at hand: the token-level loop compares the loaded tokenizers
    vocabularies = []
    for file in files:
        try:
            vocabularies.append(_vocabulary(file))
        except (OSError, ValueError, RecursionError) as error:
            yield Finding(path, f"a readable {quoted(str(file))}", str(error), "download the model again")
            return
    mine, theirs = vocabularies
    if mine != theirs:
        token = min(
            filter(partial(_differs, mine, theirs), mine.keys() | theirs.keys()),
            key=lambda t: (mine.get(t, theirs.get(t, 0)), t),
        )
        a, b = (f"id {v[token]}" if token in v else "none" for v in vocabularies)
        found = f"tokenizers that differ first in {quoted(token)} ({a} in the small one, {b} in the large one)"
        yield Finding(path, "a large model with the tokenizer of the small one", found, "pair models of one family")


def _differs(mine: dict[str, int], theirs: dict[str, int], token: str) -> bool:
    return mine.get(token) != theirs.get(token)


def _vocabulary(file: Path) -> dict[str, int]:
    """Token ids by token, added tokens included. Raises ValueError for anything but a tokenizer.json."""
    content = json.loads(file.read_text(encoding="utf-8"))
    try:
        vocabulary = content["model"]["vocab"]
        pairs = vocabulary.items() if isinstance(vocabulary, dict) else ((t, i) for i, (t, *_) in enumerate(vocabulary))
        return {**dict(pairs), **{added["content"]: added["id"] for added in content.get("added_tokens", ())}}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError("no vocabulary in it") from None
