"""Reading and writing the JSON files that lie beside learned vectors and weights; needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Stored = TypeVar("Stored", bound=BaseModel)


def read_stored(path: Path, kind: type[Stored], what: str, make: str, error: Callable[[str], Exception]) -> Stored:
    """What a file says, checked by a pydantic model.

    Args:
        what: the file's content in words, for messages: "functional tokens".
        make: how to come by such a file.
        error: what is raised, with a message, if the file is missing or damaged.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as found:
        raise error(
            f"{path.parent}: expected a folder with {path.name}, found {found.strerror or 'none'}. {make}"
        ) from found
    except ValidationError as found:
        first = found.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"])) or "the root"
        raise error(f"{path}: expected {what}, found at {at}: {first['msg']}. Train them again") from found


def write_stored(content: BaseModel, path: Path) -> None:
    """Writes such a file; makes its folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")
