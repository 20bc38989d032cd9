from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from experts.engines.requests import Message
from router.errors import DataError
from router.functional.data import LabelledQuery, read_labelled, split_rows
from router.types import NodeId

NODES = [NodeId("biology"), NodeId("physics")]


def test_reads_queries_dialogues_and_off_topic_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"query": "Why is the sky blue?", "node": "physics", "reformulated": "Rayleigh scattering"}\n\n'
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, '
        '{"role": "user", "content": "Cells?"}], "node": "biology", "split": "validation"}\n'
        '{"query": "asdf", "node": null}\n'
    )
    first, second, third = read_labelled(file, NODES)
    assert first == LabelledQuery((Message("user", "Why is the sky blue?"),), NODES[1], "Rayleigh scattering")
    assert second.query == "Cells?"
    assert second.split == "validation"
    assert third.node is None


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('{"query": "a", "node": "phisics"}', ["rows.jsonl:2:1", "did you mean 'physics'", "biology"]),
        ('{"query": "a", "node": "zzz"}', ["rows.jsonl:2:1", "'zzz'"]),
        ('{"query": "a"}', ["rows.jsonl:2:1", "node"]),
        ('{"query": "a", "node": 3}', ["rows.jsonl:2:1", "node"]),
        ('{"node": "biology"}', ["rows.jsonl:2:1", "query or messages"]),
        ('{"query": "a", "messages": [], "node": "biology"}', ["rows.jsonl:2:1", "not both"]),
        ('{"query": "  ", "node": "biology"}', ["rows.jsonl:2:1", "empty"]),
        ('{"messages": [{"role": "assistant", "content": "a"}], "node": "biology"}', ["rows.jsonl:2:1", "user turn"]),
        ('{"query": "a", "node": "biology", "label": 1}', ["rows.jsonl:2:1", "label"]),
        ('{"query": "a", "node": "biology", "split": "test"}', ["rows.jsonl:2:1", "split"]),
        ('{"query": "a", "node": "biology"', ["rows.jsonl:2:33", "JSON"]),
        ("[1]", ["rows.jsonl:2:1"]),
        ('{"query": ' + "[" * 100_000, ["rows.jsonl:2:1", "recursion"]),
        ('{"query": ' + "1" * 6_000 + "}", ["rows.jsonl:2:1", "6000 digits"]),
    ],
)
def test_errors_name_the_line(tmp_path: Path, line: str, parts: list[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"query": "fine", "node": "biology"}\n' + line + "\n")
    with pytest.raises(DataError) as error:
        read_labelled(file, NODES)
    for part in parts:
        assert part in str(error.value)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"query": "Cells?", "node": "biology"}\n', encoding="utf-8-sig")
    assert [row.query for row in read_labelled(file, NODES)] == ["Cells?"]


def test_missing_empty_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_labelled(tmp_path / "none.jsonl", NODES)
    file = tmp_path / "rows.jsonl"
    file.write_text("\n \n")
    with pytest.raises(DataError, match="at least one"):
        read_labelled(file, NODES)
    file.write_bytes(b'{"query": "\xff"}\n')
    with pytest.raises(DataError, match="UTF-8"):
        read_labelled(file, NODES)


def rows(count: int, node: NodeId | None = NODES[0]) -> list[LabelledQuery]:
    return [LabelledQuery((Message("user", f"{node} {i}"),), node) for i in range(count)]


def test_split_is_about_the_share_and_stable_under_additions() -> None:
    small, large = rows(1000), rows(2000)
    split = split_rows(small)
    assert 100 < len(split.validation) < 200
    assert set(split.validation) <= set(split_rows(large).validation)
    assert not set(split.train) & set(split.validation)
    assert len(split.train) + len(split.validation) == 1000


def test_equal_queries_stay_together() -> None:
    split = split_rows(rows(300) + rows(300))
    assert not {row.query for row in split.train} & {row.query for row in split.validation}


def test_nodes_with_few_rows_keep_them_for_training() -> None:
    split = split_rows(rows(400) + rows(4, NODES[1]))
    assert Counter(row.node for row in split.train)[NODES[1]] == 4


def test_something_is_always_measured() -> None:
    split = split_rows(rows(2))
    assert len(split.train) == len(split.validation) == 1


def test_a_given_split_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [{"query": f"q{i}", "node": "biology", "split": "validation" if i < 3 else "train"} for i in range(50)]
    file.write_text("\n".join(map(json.dumps, lines)))
    split = split_rows(read_labelled(file, NODES))
    assert {row.query for row in split.validation} == {"q0", "q1", "q2"}
