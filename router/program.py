"""What wrote a file: the name and the version of this program."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program() -> str:
    """``tokengraph`` and its version; the name alone where it runs from a source tree that is not installed."""
    try:
        return f"tokengraph {version('tokengraph')}"
    except PackageNotFoundError:
        return "tokengraph"
