from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from router.errors import TokenHeadError
from router.functional.fit import Rows
from router.functional.head import TokenHead
from router.functional.prior import NodeVectors
from router.types import NodeId

WIDTH = 8


def vectors(seed: int, examples: int = 4) -> NodeVectors:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(examples + 1, WIDTH)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return NodeVectors(found[0], found[1:])


def head() -> TokenHead:
    start = TokenHead.from_vectors({NodeId(name): vectors(i) for i, name in enumerate("abc")})
    rows = Rows(start.rows.weights * 2, start.rows.bias + 1)
    return TokenHead(start.nodes, rows, start.start, start.prior)


def test_save_and_load(tmp_path: Path) -> None:
    saved = head()
    saved.save(tmp_path)
    loaded = TokenHead.load(tmp_path, saved.nodes)
    assert loaded.nodes == saved.nodes
    for one, other in ((loaded.rows, saved.rows), (loaded.start, saved.start)):
        assert np.allclose(one.weights, other.weights, rtol=1e-6)
        assert np.array_equal(one.bias, other.bias)
    assert loaded.prior.slope == pytest.approx(saved.prior.slope)


def test_stored_rows_follow_the_formula(tmp_path: Path) -> None:
    saved = head()
    saved.save(tmp_path)
    stored = load_file(tmp_path / "functional_tokens.safetensors")
    h = vectors(9).examples
    assert np.allclose(h @ stored["rows"].T / math.sqrt(WIDTH) + stored["bias"], saved.rows.logits(h), atol=1e-5)


def test_damage_is_found(tmp_path: Path) -> None:
    saved = head()
    saved.save(tmp_path)
    file = tmp_path / "functional_tokens.safetensors"
    with pytest.raises(TokenHeadError, match="rows"):
        TokenHead.load(tmp_path, [*saved.nodes, NodeId("d")])
    tensors = load_file(file)
    tensors["rows"][0, 0] = np.nan
    save_file(tensors, file)
    with pytest.raises(TokenHeadError, match="finite"):
        TokenHead.load(tmp_path, saved.nodes)
    del tensors["rows"]
    save_file(tensors, file)
    with pytest.raises(TokenHeadError, match="rows"):
        TokenHead.load(tmp_path, saved.nodes)
    file.write_bytes(struct.pack("<Q", 2) + json.dumps({}).encode())
    with pytest.raises(TokenHeadError, match="rows"):
        TokenHead.load(tmp_path, saved.nodes)
    file.write_bytes(b"junk")
    with pytest.raises(TokenHeadError, match="Train them again"):
        TokenHead.load(tmp_path, saved.nodes)
    file.unlink()
    with pytest.raises(TokenHeadError, match="Train them again"):
        TokenHead.load(tmp_path, saved.nodes)


def test_rows_follow_the_order_of_the_targets() -> None:
    trained = head()
    a, b, c = trained.nodes
    rows = trained.rows_for([c, a], {})
    assert np.array_equal(rows.weights, trained.rows.weights[[2, 0]])
    new = NodeId("new")
    rows = trained.rows_for([new, b], {new: vectors(5)})
    assert np.array_equal(rows.weights[1], trained.rows.weights[1])
    assert np.isfinite(rows.weights).all()


def test_rows_of_every_layer(tmp_path: Path) -> None:
    start = TokenHead.from_vectors({NodeId(name): vectors(i) for i, name in enumerate("abc")})
    wide = np.random.default_rng(1).normal(size=(3, 3 * WIDTH)).astype(np.float32)
    saved = TokenHead(start.nodes, Rows(wide, start.rows.bias), start.start, start.prior)
    assert (saved.width, saved.layers) == (WIDTH, 3)
    saved.save(tmp_path)
    loaded = TokenHead.load(tmp_path, saved.nodes, layers=3)
    assert np.allclose(loaded.rows.weights, wide, rtol=1e-6)
    with pytest.raises(TokenHeadError, match="rows as finite"):
        TokenHead.load(tmp_path, saved.nodes)
    new, own = NodeId("new"), vectors(5)
    layered = NodeVectors(np.tile(own.description, 3), np.tile(own.examples, (1, 3)))
    rows = loaded.rows_for([new, start.nodes[0]], {new: layered})
    assert not rows.weights[0, :-WIDTH].any(), "a new node reads the sentence vector alone"
    assert np.allclose(rows.weights[0, -WIDTH:], start.rows_for([new], {new: own}).weights[0], rtol=1e-5)
    assert np.allclose(rows.weights[1], wide[0], rtol=1e-6)
