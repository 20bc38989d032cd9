"""The tool tokens folder: what training writes and an expert node reads.

::

    TOKENS/
      tool_tokens.json          ToolTokensFile
      tool_tokens.safetensors   the rows, what they started at, and what a later tool's row is made with
      model/                    a complete checkpoint: the frozen model with the rows in its vocabulary

A model's own folder may hold ``tool_tokens.json`` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from experts.engines.config import LocalWorker, VllmWorker, WorkerSpec
from experts.stored import read_stored, write_stored
from router.errors import TokenHeadError
from router.functional.head import TokenHead
from router.functional.head_rivals import Rivals
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE_NAME = "tool_tokens.json"
ROWS_NAME = "tool_tokens.safetensors"
MODEL_NAME = "model"
_TEXTS, _TEXTS_WON = "texts", "texts_won"
GENERIC, BEGINNING = "<tool>", "<tool_"
"""A token that a model may have been trained with: it stands for a call of whichever tool. How tools' tokens begin."""


class ToolTrainingReport(BaseModel):
    """How tool tokens were trained and what they score on examples that were not trained on; shares are in [0, 1]."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    seed: int
    examples: int = Field(description="training examples")
    calls: int = Field(description="calls in them")
    validation_calls: int
    choice: float = Field(description="of the calls, those where the right tool's row is the highest of the tools'")
    prior_choice: float = Field(description="the same of untrained rows: names and descriptions alone")
    called: float = Field(description="of the calls, those where some tool's row also beats the vocabulary")
    false_calls: float = Field(
        description="of the places of ordinary text, those where a tool's row beats the vocabulary"
    )
    regularisation: float = Field(description="lambda of lambda * ||W - W0||^2; infinity: W0 was best")
    seconds: float = 0.0


class ToolTokensFile(BaseModel):
    """``tool_tokens.json``. The tools are in the order of the rows of ``tool_tokens.safetensors``."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    version: Literal[1] = 1
    tokens: dict[str, str] = Field(description="tool -> text of its token")
    biases: dict[str, float] = Field(description="tool -> what its token's logit is raised by")
    generic: str | None = Field(
        None, description="the model's token for any call, which is not written any more; such a model reads averages of "
        "descriptions as rows"
    )  # fmt: skip
    length: float = Field(gt=0, description="mean length of the states that the rows were fitted on")
    base: str = Field(description="EngineInfo.fingerprint of the frozen model")
    fingerprint: str = Field(description="EngineInfo.fingerprint of the model with the rows in its vocabulary")
    report: ToolTrainingReport | None = None
    created_with: str = ""


@dataclass(frozen=True)
class ToolHead:
    """Rows of tools, for states divided by ``length``.

    Attributes:
        head: the tools' own part of the rows, and what later tools' rows are made with.
        common: what all of them share, float32 [width]: that a call is due.
        shift: the same of their biases.
        reads: the model reads averages of descriptions as rows.
        texts: places of ordinary text, which bound a later tool's row beside the calls in ``head.rivals``.
    """

    head: TokenHead
    common: NDArray[np.float32]
    shift: float
    reads: bool
    texts: Rivals | None = None

    def save(self, folder: Path) -> None:
        """Writes ``tool_tokens.safetensors``."""
        import numpy as np

        texts = {} if self.texts is None else {_TEXTS: self.texts.queries, _TEXTS_WON: self.texts.won}
        self.head.save(folder, ROWS_NAME, common=self.common, shift=np.array([self.shift], np.float32), **texts)

    @classmethod
    def load(cls, folder: Path, tokens: ToolTokensFile) -> ToolHead:
        """Reads ``tool_tokens.safetensors``.

        Raises:
            TokenHeadError: it is missing or damaged.
        """
        from safetensors.numpy import load_file

        head = TokenHead.load(folder, tuple(map(NodeId, tokens.tokens)), file=ROWS_NAME)
        values = load_file(folder / ROWS_NAME)
        common, shift = values.get("common"), values.get("shift")
        if common is None or shift is None or common.shape != (head.width,) or shift.shape != (1,):
            raise TokenHeadError(
                f"{folder / ROWS_NAME}: expected what the rows share, found none. Train the tokens again"
            )
        texts, won = values.get(_TEXTS), values.get(_TEXTS_WON)
        if texts is None or won is None:
            return cls(head, common, float(shift[0]), tokens.generic is not None)
        if texts.shape != (len(won), head.width):
            raise TokenHeadError(
                f"{folder / ROWS_NAME}: expected {_TEXTS} as {[len(won), head.width]}, found {list(texts.shape)}. Train the "
                "tokens again"
            )
        return cls(head, common, float(shift[0]), tokens.generic is not None, Rivals(texts, won))


def save_tool_tokens(tokens: ToolTokensFile, folder: Path) -> None:
    """Writes ``tool_tokens.json``; makes the folder if it is missing."""
    write_stored(tokens, folder / FILE_NAME)


def load_tool_tokens(folder: Path) -> ToolTokensFile:
    """Reads ``tool_tokens.json``.

    Raises:
        TokenHeadError: it is missing or damaged.
    """
    make = "Make one with `tokengraph train tool-tokens`, or correct `tool_tokens` of the node"
    return read_stored(folder / FILE_NAME, ToolTokensFile, "tool tokens", make, TokenHeadError)


def find_tool_tokens(named: Path | None, worker: WorkerSpec) -> Path | None:
    """The folder of a node's tool tokens: the one that it names, else its model's own if that has any, else None."""
    if named is not None:
        return named
    if not isinstance(worker, LocalWorker | VllmWorker):
        return None
    from router.functional.tokens_file import model_directory

    folder = model_directory(worker.model)
    return folder if folder is not None and (folder / FILE_NAME).is_file() else None


def token_texts(tools: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """The text of each tool's token: the known one, else ``<tool_NAME>``."""
    return {tool: known.get(tool) or f"{BEGINNING}{tool}>" for tool in tools}
