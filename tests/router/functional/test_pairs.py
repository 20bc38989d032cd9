from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router.functional import pairs
from router.functional.fit import Rows, fit_rows
from router.functional.head import TokenHead
from router.functional.layers import LayerScale
from router.functional.pairs import Pairs, widened
from router.functional.prior import NodeVectors
from router.functional.squares import Squares
from router.types import NodeId

WIDTH = 12


def together(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose label is whether their first two features have the same sign, which neither of them says alone."""
    vectors = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return vectors, (vectors[:, 0] * vectors[:, 1] > 0).astype(np.int64)


def nothing(width: int) -> Rows:
    return Rows(np.zeros((2, width), np.float32), np.zeros(2, np.float32))


def fitted(vectors: np.ndarray, labels: np.ndarray) -> tuple[Rows, np.ndarray]:
    """Rows with squares, and the logits that they had before they were turned into squares."""
    found = Pairs.among(vectors, seed=0)
    inputs = np.concatenate([found.features(vectors), vectors], axis=1)
    rows = fit_rows(inputs, labels, widened(nothing(WIDTH), inputs.shape[1])).rows
    return found.rows(rows, vectors, inputs), rows.logits(inputs)


def test_features_that_mean_something_together_are_learnt() -> None:
    (vectors, labels), (asked, right) = together(500, 0), together(500, 1)
    alone = fit_rows(vectors, labels, nothing(WIDTH)).rows
    assert (alone.logits(asked).argmax(1) == right).mean() < 0.6
    rows, _ = fitted(vectors, labels)
    assert (rows.logits(asked).argmax(1) == right).mean() > 0.8


def test_squares_say_what_the_pairs_said() -> None:
    rows, before = fitted(*together(200, 0))
    assert np.allclose(rows.logits(together(200, 0)[0]), before, atol=0.05)


def test_few_nodes_keep_few_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_SQUARES_A_NODE", 3)
    rows, _ = fitted(*together(200, 0))
    assert rows.squares is not None
    assert len(rows.squares.directions) == 3 * 2


def test_a_part_of_many_vectors_spans_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_MOST", 150)
    (vectors, labels), (asked, right) = together(500, 0), together(500, 1)
    rows, _ = fitted(vectors, labels)
    assert (rows.logits(asked).argmax(1) == right).mean() > 0.8


def test_widened_rows_give_the_same_logits() -> None:
    vectors = together(5, 0)[0]
    rows = Rows(vectors[:2], np.ones(2, np.float32))
    assert np.allclose(widened(rows, WIDTH + 3).logits(np.pad(vectors, ((0, 0), (3, 0)))), rows.logits(vectors))


def test_one_vector_and_many_give_the_same_logits() -> None:
    vectors, labels = together(200, 0)
    rows = fitted(vectors, labels)[0].cooled(2.0)
    assert np.allclose(rows.logits_of(vectors[3]), rows.logits(vectors)[3], atol=1e-4)


def test_folded_squares_give_the_logits_of_scaled_features() -> None:
    vectors, labels = together(200, 0)
    rows, scale = fitted(vectors, labels)[0], LayerScale(vectors.mean(0) + 1, vectors.std(0) * 2)
    assert np.allclose(scale.fold(rows).logits(vectors), rows.logits(scale.apply(vectors)), rtol=1e-3, atol=0.02)


def test_squares_are_kept_with_the_head_and_a_new_node_has_none(tmp_path: Path) -> None:
    known = [NodeVectors(vector, np.empty((0, WIDTH), np.float32)) for vector in together(3, 2)[0]]
    head = TokenHead.from_vectors({NodeId("a"): known[0], NodeId("b"): known[1]})
    squares = Squares(*(np.full(shape, 2, np.float32) for shape in ((3, WIDTH), (3,), (2, 3))))
    head = replace(head, rows=replace(head.rows, squares=squares))
    head.save(tmp_path)
    loaded = TokenHead.load(tmp_path, head.nodes)
    asked = together(4, 3)[0]
    assert np.allclose(loaded.rows.logits(asked), head.rows.logits(asked), rtol=1e-5)
    rows = loaded.rows_for([NodeId("new"), NodeId("b")], {NodeId("new"): known[2]})
    assert rows.squares is not None
    assert np.array_equal(rows.squares.mix, [[0, 0, 0], [2, 2, 2]])
