"""JSON whose texts are text: half of a surrogate pair can be written in JSON, but no tokenizer and no file takes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def parse_json(
    text: str, *, parse_float: Callable[[str], Any] | None = None, parse_constant: Callable[[str], Any] | None = None
) -> Any:
    """The value that a JSON text stands for; takes what `json.loads` does.

    Raises:
        ValueError: it is no JSON (JSONDecodeError), or holds half of a character (UnicodeEncodeError).
        RecursionError: it is too deep.
    """
    found = json.loads(text, parse_float=parse_float, parse_constant=parse_constant)
    json.dumps(found, ensure_ascii=False).encode()
    return found
