"""The versions of vLLM that the plugin was tested with. Others are refused: what it hooks into may have moved."""

from __future__ import annotations

from experts.errors import EngineError

TESTED = ("0.32",)


def check_version(found: str) -> None:
    """Accepts patch releases of the tested versions.

    Raises:
        EngineError: the version is not one of them.
    """
    if ".".join(found.split(".")[:2]) not in TESTED:
        raise EngineError(
            f"expected vLLM {' or '.join(TESTED)}, with which tokengraph's plugin was tested, found {found}. Install a "
            "tested version, or serve without masks and defer tokens (workers: plugin: false)"
        )
