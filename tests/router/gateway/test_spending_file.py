"""The file of what keys have used: several writers, and files that are something else."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from router.errors import DataError
from router.gateway.spending_file import SpendingFile

ROOT = Path(__file__).parents[3]
WRITER = """
import sys
from pathlib import Path
from router.gateway.spending_file import SpendingFile
file = SpendingFile(Path(sys.argv[1]))
for _ in range(100):
    file.add({"ann": 1, sys.argv[2]: 2})
"""


def test_what_is_added_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "spending.sqlite"
    file = SpendingFile(path)
    assert file.add({}) == {}
    assert file.add({"ann": 3, "bob": 1}) == {"ann": 3, "bob": 1}
    assert file.add({"ann": 4}) == {"ann": 7, "bob": 1}
    file.close()
    assert SpendingFile(path).add({}) == {"ann": 7, "bob": 1}


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spending.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for name in ("bob", "cem")
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=120)
        assert writer.returncode == 0, said
    assert SpendingFile(path).add({}) == {"ann": 200, "bob": 200, "cem": 200}


def test_all_is_added_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spending.sqlite"
    file = SpendingFile(path)
    with sqlite3.connect(path) as other:
        other.execute(
            "CREATE TRIGGER no BEFORE INSERT ON spending WHEN new.key = 'bob' BEGIN SELECT raise(ABORT, 'no'); END"
        )
    with pytest.raises(DataError, match="found no"):
        file.add({"ann": 1, "bob": 1})
    assert file.add({}) == {}
    assert file.add({"ann": 1}) == {"ann": 1}


def text(path: Path) -> None:
    path.write_text("keys: [] # " + "no database" * 100)


def other_layout(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE spending (key TEXT PRIMARY KEY, euros REAL)")


def other_use(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE checkpoints (thread_id TEXT)")


def damaged(path: Path) -> None:
    file = SpendingFile(path)
    file.add({f"key{number}": number for number in range(1000)})
    file.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (text, "file is not a database"), (other_layout, "another layout"), (other_use, "another layout"),
        (damaged, "malformed"), (folder, "unable to open"),
    ],
)  # fmt: skip
def test_a_file_that_is_something_else_is_left_as_it_is(tmp_path: Path, make: object, found: str) -> None:
    path = tmp_path / "spending.sqlite"
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(DataError, match=found) as caught:
        SpendingFile(path).add({})
    assert str(path) in str(caught.value) and "Name another file" in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before
