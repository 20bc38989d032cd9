from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from router.errors import TokenHeadError
from router.functional.fit import FittedRows, Rows, fit_rows
from router.functional.head import TokenHead
from router.functional.head_rivals import TAKEN, Rivals
from router.functional.prior import NodeVectors
from router.types import NodeId

WIDTH, NODES, NEW = 24, 5, NodeId("new")


def queries(topics: NDArray[Any], count: int, seed: int) -> NDArray[Any]:
    noise = np.random.default_rng(seed).normal(0, 0.12, (len(topics) * count, WIDTH))
    found = topics.repeat(count, axis=0) + noise
    unit: NDArray[Any] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


def trained(topics: NDArray[Any]) -> TokenHead:
    """A head of all topics but the last, which is the later node's."""
    known = {
        NodeId(str(at)): NodeVectors(topic, np.empty((0, WIDTH), np.float32)) for at, topic in enumerate(topics[:-1])
    }
    head = TokenHead.from_vectors(known)
    features, labels = queries(topics[:-1], 40, 1), np.arange(NODES).repeat(40)
    fitted = fit_rows(features, labels, head.rows, lambdas=(0.1,))
    return TokenHead(head.nodes, fitted.rows, head.start, head.prior, Rivals.of(features, labels, fitted))


@pytest.fixture
def topics() -> NDArray[Any]:
    found = np.random.default_rng(0).normal(size=(NODES + 1, WIDTH))
    unit: NDArray[Any] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


def chosen(head: TokenHead, topics: NDArray[Any]) -> NDArray[Any]:
    new = {NEW: NodeVectors(topics[-1], np.empty((0, WIDTH), np.float32))}
    logits = head.rows_for([*head.nodes, NEW], new).logits(queries(topics, 200, 2))
    best: NDArray[Any] = logits.argmax(1).reshape(NODES + 1, 200)
    return best


def test_a_later_node_wins_its_queries_and_takes_few_of_the_others(topics: NDArray[Any]) -> None:
    found = chosen(trained(topics), topics)
    assert (found[-1] == NODES).mean() > 0.9
    assert (found[:-1] == NODES).mean() < 3 * TAKEN


def test_the_bound_holds_for_the_queries_that_it_is_made_of(topics: NDArray[Any]) -> None:
    rivals = trained(topics).rivals
    assert rivals is not None
    for share in (0.0, TAKEN, 0.1):
        rows = Rivals(rivals.queries, rivals.won, share).bound(topics)
        taken = rows.logits(rivals.queries) > rivals.won[:, None] + 1e-4
        assert (taken.mean(0) <= share).all()
        assert (taken.mean(0) >= share - 1.01 / len(rivals.won)).all(), "it is used up"


def test_only_what_is_won_without_having_been_seen_counts() -> None:
    vectors, labels = queries(np.eye(2, WIDTH, dtype=np.float32), 12, 3), np.arange(2).repeat(12)
    held_out = np.zeros((24, 2), np.float32)
    held_out[np.arange(24), labels] = 2.0
    held_out[0] = 0.0, 3.0
    none = Rows(np.zeros((2, WIDTH), np.float32), np.zeros(2, np.float32))
    rivals = Rivals.of(vectors, labels, FittedRows(none, 1.0, held_out))
    assert rivals is not None
    assert np.array_equal(rivals.queries, vectors[1:])
    assert (rivals.won == 2).all()
    assert Rivals.of(vectors[:9], labels[:9], FittedRows(none, 1.0, held_out[:9])) is None, "too few to say anything"


def test_a_description_like_all_others_makes_a_finite_row(topics: NDArray[Any]) -> None:
    rivals = trained(topics).rivals
    assert rivals is not None
    rows = rivals.bound(np.zeros((1, WIDTH), np.float32))
    assert np.isfinite(rows.weights).all()
    assert np.isfinite(rows.bias).all()


def test_they_are_saved_with_the_rows(topics: NDArray[Any], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    saved = trained(topics)
    saved.save(tmp_path)
    loaded = TokenHead.load(tmp_path, saved.nodes)
    assert np.array_equal(chosen(loaded, topics), chosen(saved, topics))
    file = tmp_path / "functional_tokens.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"rival_scores": tensors["rival_scores"][1:]}, file)
    with pytest.raises(TokenHeadError, match="rival_scores"):
        TokenHead.load(tmp_path, saved.nodes)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("rival")}
    save_file(kept, file)
    assert TokenHead.load(tmp_path, saved.nodes).rivals is None, "written before there were any"
