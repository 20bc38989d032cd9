"""Files of examples with marked calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import DataError
from router.tools.tokens.examples import read_examples

LINE = '{"query": "2 + 3?", "response": "<add>(2,3)=5"}\n'


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text(LINE, encoding="utf-8-sig")
    assert [example.query for example in read_examples(file, ["add"])] == ["2 + 3?"]


@pytest.mark.parametrize("line", ['{"query": ' + "[" * 100_000, '{"query": ' + "1" * 6_000 + "}", "{", "[]", "{}"])
def test_errors_name_the_line(line: str, tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text(LINE + line + "\n")
    with pytest.raises(DataError, match=r"examples\.jsonl:2:"):
        read_examples(file, ["add"])
