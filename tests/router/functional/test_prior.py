from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from router.functional.calibrate import expected_calibration_error, softmax
from router.functional.prior import NodeVectors, Prior

WIDTH = 48


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


class World:
    """Nodes with a topic each; descriptions share a style that queries do not have."""

    def __init__(self, nodes: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.topics = unit(self.rng.normal(size=(nodes, WIDTH)))
        self.style = unit(self.rng.normal(size=WIDTH))
        self.nuisance = unit(self.rng.normal(size=(6, WIDTH)))

    def queries(self, node: int, count: int) -> NDArray[np.float32]:
        noise = self.rng.normal(size=(count, 6)) @ self.nuisance + 0.08 * self.rng.normal(size=(count, WIDTH))
        return unit(self.topics[node] + noise)

    def node(self, node: int, examples: int) -> NodeVectors:
        noise = 0.05 * self.rng.normal(size=WIDTH)
        description = unit(self.topics[node] + 1.5 * self.style + noise)
        return NodeVectors(description, self.queries(node, examples).reshape(examples, WIDTH))

    def test(self, count: int = 100) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        nodes = range(len(self.topics))
        return np.concatenate([self.queries(i, count) for i in nodes]), np.repeat(np.array(nodes), count)


def accuracy(nodes: list[NodeVectors], features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    rows, bias = Prior.fit(nodes).rows(nodes)
    return float(((features @ rows.T + bias).argmax(1) == labels).mean())


def test_descriptions_alone_route() -> None:
    world = World(6)
    assert accuracy([world.node(i, 0) for i in range(6)], *world.test()) > 0.7


def test_examples_beat_descriptions_and_nearest_means() -> None:
    world = World(6)
    nodes = [world.node(i, 20) for i in range(6)]
    features, labels = world.test()
    means = unit(np.stack([node.examples.mean(0) for node in nodes]).astype(np.float64))
    nearest = float(((features @ means.T).argmax(1) == labels).mean())
    alone = accuracy([NodeVectors(node.description, node.examples[:0]) for node in nodes], features, labels)
    assert accuracy(nodes, features, labels) > max(nearest, alone) + 0.03


@pytest.mark.parametrize("few", [0, 1])
def test_nodes_with_and_without_examples_compete_fairly(few: int) -> None:
    world = World(8)
    nodes = [world.node(i, 20 if i % 2 else few) for i in range(8)]
    features, labels = world.test()
    rows, bias = Prior.fit(nodes).rows(nodes)
    chosen = (features @ rows.T + bias).argmax(1)
    share_poor = float((chosen % 2 == 0).mean())
    assert 0.3 < share_poor < 0.7, "neither kind may swallow the other"
    assert (chosen == labels).mean() > 0.6


def test_probabilities_are_roughly_calibrated_without_labels() -> None:
    world = World(6)
    nodes = [world.node(i, 20) for i in range(6)]
    features, labels = world.test(200)
    rows, bias = Prior.fit(nodes).rows(nodes)
    assert expected_calibration_error(softmax(features @ rows.T + bias), labels) < 0.15


def test_a_later_node_gets_the_row_it_would_have_had_nearly() -> None:
    world = World(6)
    nodes = [world.node(i, 20) for i in range(6)]
    features, labels = world.test()
    prior = Prior.fit(nodes[:5])
    rows, bias = prior.rows(nodes)
    chosen = (features @ rows.T + bias).argmax(1)
    assert (chosen[labels == 5] == 5).mean() > 0.7
    assert (chosen[labels != 5] == 5).mean() < 0.06


@pytest.mark.parametrize("examples", [0, 1, 5])
def test_one_node_alone_has_finite_rows(examples: int) -> None:
    world = World(1)
    rows, bias = Prior.fit([node := world.node(0, examples)]).rows([node])
    assert rows.shape == (1, WIDTH)
    assert np.isfinite(rows).all()
    assert np.isfinite(bias).all()
