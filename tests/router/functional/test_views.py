from __future__ import annotations

from random import Random

from experts.engines.requests import Message
from router.functional.views import Labelled, batches, stem, stems, view

CHOICE = "What is the capital of the country that lies to the south of France and west of Italy?\nA. Oslo\nB. Madrid"


def test_views_are_parts_of_the_query_and_most_are_whole() -> None:
    random = Random(0)
    views = [view(CHOICE, random) for _ in range(400)]
    assert 0.6 < views.count(CHOICE) / 400 < 0.8
    stem = CHOICE.split("\n")[0]
    assert set(views) > {CHOICE, stem}
    assert all(part in CHOICE and part for part in views)


def test_short_queries_are_never_cut_to_nothing() -> None:
    random = Random(0)
    assert {view("Why?", random) for _ in range(50)} == {"Why?"}
    assert all(view("\nA. One\nB. Two", random).strip() for _ in range(50))


def test_stems_are_questions_without_options() -> None:
    assert stem(CHOICE) == CHOICE.split("\n")[0]
    assert stem("Why?") == "Why?"
    assert stem("\nA. One\nB. Two") == "\nA. One\nB. Two"
    plain, choice = (Message("user", "Hi"),), (Message("system", "Be\nA. kind"), Message("user", CHOICE))
    found, of = stems([plain, choice])
    assert found == [(choice[0], Message("user", stem(CHOICE)))]
    assert of == [1]


def test_batches_hold_every_row_once_with_its_label() -> None:
    rows = Labelled([f"{'x' * (i % 7)}{i}" for i in range(50)], list(range(50)))
    seen = [pair for texts, labels in batches(rows, 8, Random(0)) for pair in zip(texts, labels, strict=True)]
    assert sorted(label for _, label in seen) == list(range(50))
    assert all(rows.texts[label] == text for text, label in seen)
    assert list(batches(rows, 8, Random(1))) != list(batches(rows, 8, Random(2)))
