"""The tokens folder: what training writes and a router node reads.

::

    TOKENS/
      functional_tokens.json          TokensFile
      functional_tokens.safetensors   encoder: rows, prior, bias and the statistics behind them
      model/                          a complete checkpoint, if the model itself was trained or rows were merged into it

A decoder's checkpoint folder may hold ``functional_tokens.json`` itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from experts.engines.base import EngineInfo
from experts.engines.config import LocalWorker, RecordedWorker, ScriptedWorker, VllmWorker, WorkerSpec
from experts.stored import read_stored, write_stored
from router.errors import TokenHeadError
from router.functional.decision import Target
from router.functional.report import TrainingReport
from router.spec.models import RouterNode
from router.types import NodeId

FILE_NAME = "functional_tokens.json"
ROWS_NAME = "functional_tokens.safetensors"
MODEL_NAME = "model"


class TokensFile(BaseModel):
    """``functional_tokens.json``.

    The nodes in ``tokens`` are in the order of the rows of ``functional_tokens.safetensors``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    version: Literal[1] = 1
    backbone: Literal["encoder", "decoder"]
    tokens: dict[NodeId, str] = Field(description="node -> text of its functional token")
    abstain: str | None = Field(None, description="text of the token that stands for no node")
    open: str = Field("('", description="what follows a functional token (decoder)")
    close: str = Field("')", description="what ends the reformulated query (decoder)")
    end: str = Field("<end>", description="the token that ends the call (decoder)")
    silent: tuple[NodeId, ...] = Field(
        (), description="nodes after whose token the model writes no call, as none was trained (decoder)"
    )
    temperature: float = Field(1.0, gt=0, description="divides the logits before the softmax")
    threshold: float = Field(0.0, ge=0, le=1, description="abstain if no node is at least so probable")
    fingerprint: str | None = Field(
        None, description="EngineInfo.fingerprint of the model that the tokens fit; None: unknown"
    )
    layers: int = Field(
        1, ge=1, description="pooled states that a row reads: 1, the sentence vector; else every layer's too (encoder)"
    )
    descriptions: dict[NodeId, str] = Field(
        default_factory=dict, description="node -> description_hash of what its prior was made from"
    )
    report: TrainingReport | None = Field(None, description="how it was trained and what it scored")
    created_with: str = Field("", description="name and version of the program that wrote it")


def description_hash(description: str, examples: Sequence[str]) -> str:
    """Hash of a node's description and example queries (blake2b, 16 hex digits)."""
    text = json.dumps([description, *examples], ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def save_tokens(tokens: TokensFile, folder: Path) -> None:
    """Writes ``functional_tokens.json``; makes the folder if it is missing."""
    write_stored(tokens, folder / FILE_NAME)


def load_tokens(folder: Path) -> TokensFile:
    """Reads ``functional_tokens.json`` of a tokens folder.

    Raises:
        TokenHeadError: it is missing or damaged.
    """
    make = "Make one with `tokengraph train functional-tokens`"
    return read_stored(folder / FILE_NAME, TokensFile, "functional tokens", make, TokenHeadError)


def find_tokens(node: RouterNode, worker: WorkerSpec) -> Path | None:
    """The tokens folder of a router node: its own ``tokens``, else the model's directory if that holds them, else None.

    Raises:
        TokenHeadError: ``tokens`` names a folder without functional tokens.
    """
    if node.tokens is not None:
        if not (node.tokens / FILE_NAME).is_file():
            raise TokenHeadError(
                f"{node.tokens}: expected a tokens folder with {FILE_NAME}, found none. Make one with "
                "`tokengraph train functional-tokens` or remove `tokens` from the router node"
            )
        return node.tokens
    if isinstance(worker, RecordedWorker | ScriptedWorker):
        return None
    directory = model_directory(worker.model)
    return directory if directory is not None and (directory / FILE_NAME).is_file() else None


def worker_for(worker: WorkerSpec, folder: Path | None) -> WorkerSpec:
    """The worker that a folder of functional or tool tokens needs: with its ``model/`` where there is one.

    A vLLM server that runs elsewhere is left as it is: it decides what it serves, and the tokens' fingerprint tells.
    """
    if folder is None or not (folder / MODEL_NAME).is_dir():
        return worker
    if isinstance(worker, LocalWorker) or (isinstance(worker, VllmWorker) and not worker.attached):
        return worker.model_copy(update={"model": str(folder / MODEL_NAME)})
    return worker


def check_model(tokens: TokensFile, info: EngineInfo, folder: Path) -> None:
    """Raises TokenHeadError if the tokens were made for another model than the engine runs.

    An engine that cannot see the weights (a remote server) reports an empty fingerprint, which is not checked.
    """
    if tokens.fingerprint and info.fingerprint and tokens.fingerprint != info.fingerprint:
        raise TokenHeadError(
            f"{folder}: expected the model with fingerprint {tokens.fingerprint}, found {info.model} with "
            f"{info.fingerprint}. Use the model that the tokens were trained for, or train them for this one"
        )


def token_texts(targets: Sequence[Target], known: Mapping[NodeId, str]) -> dict[NodeId, str]:
    """The functional token of each target: the spec's, else the known one, else ``<node_i>`` by position.

    A position whose ``<node_i>`` is taken already gets the next free number.

    Raises:
        TokenHeadError: two targets have one token.
    """
    fixed = {target.node: target.token or known.get(target.node) for target in targets}
    taken = {text for text in (*fixed.values(), *known.values()) if text is not None}
    texts: dict[NodeId, str] = {}
    for position, target in enumerate(targets):
        free = (name for number in count(position) if (name := f"<node_{number}>") not in taken)
        text = fixed[target.node] or next(free)
        taken.add(text)
        texts[target.node] = text
    if len(set(texts.values())) < len(texts):
        owner: dict[str, NodeId] = {}
        for node, text in texts.items():
            if text in owner:
                raise TokenHeadError(
                    f"expected one functional token a node, found {text} for both {owner[text]} and {node}. "
                    "Change `token` of one of the edges"
                )
            owner[text] = node
    return texts


def model_directory(model: str) -> Path | None:
    """The folder of a model that ships with tokengraph or is a directory; None: it is an id of a hub."""
    if model.startswith("pocket:"):
        from experts.pocket import resolve

        return resolve(model.removeprefix("pocket:"))
    path = Path(model)
    return path if path.is_dir() else None
