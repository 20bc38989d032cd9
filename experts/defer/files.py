"""The folder of a token router: ``model.safetensors`` and ``token_router.json``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from experts import pocket
from experts.defer.shape import RouterShape
from experts.errors import CheckpointError
from experts.stored import read_stored, write_stored

if TYPE_CHECKING:
    from experts.defer.network import TokenRouter

FILE_NAME = "token_router.json"
WEIGHTS_NAME = "model.safetensors"
FOLDER_NAME = "token_router"
"""Where a bundled model keeps its token router, in its own folder."""

_Share = Annotated[float, Field(ge=0, le=1)]


class ShareThreshold(BaseModel):
    """The threshold at which the large model writes about this share of the tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    share: _Share
    threshold: float = Field(ge=0, allow_inf_nan=False)


class TokenRouterFile(BaseModel):
    """``token_router.json``.

    The thresholds were chosen on data that was used for nothing else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    shape: RouterShape
    small: str = Field(description="EngineInfo.fingerprint of the model whose tokens it scores")
    large: str = Field(description="EngineInfo.fingerprint of the model that takes over")
    target_share: _Share = Field(description="share of the large model's tokens that is aimed at")
    thresholds: tuple[ShareThreshold, ...] = Field(
        (), description="calibrated, by rising share; empty before calibration"
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="what it scored on held-out labels, by name")
    created_with: str = Field("", description="name and version of the program that wrote it")

    def threshold(self, share: float | None = None) -> float:
        """The calibrated threshold for a share of the large model's tokens; by default, the one that is aimed at.

        Between two shares of the table the smaller one counts.

        Raises:
            CheckpointError: the table has no share as small as that.
        """
        wanted = self.target_share if share is None else share
        fitting = [entry for entry in self.thresholds if entry.share <= wanted]
        if not fitting:
            known = ", ".join(f"{entry.share:g}" for entry in self.thresholds) or "none"
            raise CheckpointError(
                f"expected a threshold for a large share of {wanted:g}, found those for: {known}. Run "
                "`tokengraph train token-router calibrate`, or give the node a `threshold`"
            )
        return max(fitting, key=lambda entry: entry.share).threshold


def locate(token_router: str) -> Path:
    """The folder that a worker's ``token_router`` names: a path, or ``pocket:NAME`` for a bundled model's.

    Raises:
        CheckpointError: there is none.
    """
    if token_router.startswith("pocket:"):
        folder = pocket.resolve(token_router.removeprefix("pocket:")) / FOLDER_NAME
    else:
        folder = Path(token_router)
    if not (folder / FILE_NAME).is_file():
        raise CheckpointError(
            f"expected a token router in {token_router}, found no {FILE_NAME} there. Make one with "
            "`tokengraph train token-router`, or correct the path"
        )
    return folder


def read_file(folder: Path) -> TokenRouterFile:
    """Reads ``token_router.json``; needs no torch.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    make = "Make one with `tokengraph train token-router`, or correct the path"
    return read_stored(folder / FILE_NAME, TokenRouterFile, "a token router", make, CheckpointError)


def check_fingerprint(found: str, expected: str, what: Literal["small", "large"], folder: Path) -> None:
    """Raises CheckpointError if a token router was made for another model.

    Args:
        found: the model's fingerprint.
        expected: that of the model that the router was made for.
        what: which of the pair it is.
    """
    if found != expected:
        raise CheckpointError(
            f"{folder}: expected the {what} model with fingerprint {expected}, found {found}. Use the model that this "
            "token router was trained for, or train one for this pair with `tokengraph train token-router`"
        )


def weights_digest(folder: Path) -> str:
    """A hash of the weights, which alone decide about scores: the same before and after a calibration.

    Raises:
        CheckpointError: they are missing.
    """
    path = folder / WEIGHTS_NAME
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"expected the weights of a token router in {path}, found: {error.strerror}. Correct the path"
        ) from error


def save_router(router: TokenRouter, file: TokenRouterFile, folder: Path) -> None:
    """Writes both files; makes the folder if it is missing."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in router.state_dict().items()}, folder / WEIGHTS_NAME)
    write_file(file, folder)


def write_file(file: TokenRouterFile, folder: Path) -> None:
    """Writes ``token_router.json`` anew: after a calibration, say."""
    write_stored(file, folder / FILE_NAME)


def load_router(folder: Path, *, small: str | None = None) -> tuple[TokenRouter, TokenRouterFile]:
    """The network, in evaluation mode, float32 on the CPU, and what is known about it.

    Args:
        small: fingerprint of the model that it is to be used with; None does not check it.

    Raises:
        CheckpointError: a file is missing or damaged, or it was made for another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from experts.defer.network import TokenRouter

    file = read_file(folder)
    if small is not None:
        check_fingerprint(small, file.small, "small", folder)
    router = TokenRouter(file.shape)
    try:
        router.load_state_dict(load_file(folder / WEIGHTS_NAME))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS_NAME}: expected the weights of a token router, found: {error}. Train it again"
        ) from error
    return router.eval().requires_grad_(False), file
