from __future__ import annotations

import numpy as np

from router.functional.fit import Rows
from router.functional.layers import LayerScale

LAYERS, WIDTH, NODES = 3, 10, 4
RNG = np.random.default_rng(0)


def vectors(count: int) -> np.ndarray:
    """Unit vectors of layers side by side; the first two layers vary little around a common mean."""
    blocks = (
        RNG.normal(size=(count, LAYERS, WIDTH)) * np.array([0.1, 0.3, 1.0])[:, None] + np.array([3.0, 2, 0])[:, None]
    )
    return (blocks / np.linalg.norm(blocks, axis=2, keepdims=True)).reshape(count, -1).astype(np.float32)


def rows(width: int) -> Rows:
    return Rows(RNG.normal(size=(NODES, width)).astype(np.float32), RNG.normal(size=NODES).astype(np.float32))


def test_every_dimension_is_centred_and_spread_alike() -> None:
    known = vectors(500)
    scaled = LayerScale.measure(known, WIDTH).apply(known)
    assert np.allclose(scaled.mean(0), 0, atol=1e-4)
    spread = scaled.std(0) * WIDTH**0.5
    assert 0.6 < spread.min() <= spread.max() < 1.01


def test_lifted_rows_give_the_logits_of_the_sentence_vector() -> None:
    known, asked, plain = vectors(50), vectors(20), rows(WIDTH)
    scale = LayerScale.measure(known, WIDTH)
    assert np.allclose(scale.lift(plain).logits(scale.apply(asked)), plain.logits(asked[:, -WIDTH:]), atol=1e-4)


def test_folded_rows_give_the_logits_of_scaled_features() -> None:
    known, asked, fitted = vectors(50), vectors(20), rows(LAYERS * WIDTH)
    scale = LayerScale.measure(known, WIDTH)
    assert np.allclose(scale.fold(fitted).logits(asked), fitted.logits(scale.apply(asked)), atol=1e-3)


def test_one_row_is_enough_to_measure() -> None:
    one = vectors(1)
    scale = LayerScale.measure(one, WIDTH)
    assert np.isfinite(scale.scale).all()
    assert not scale.apply(one).any()
