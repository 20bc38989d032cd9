"""Scans against counting by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from experts.engines.local.decoding import pad
from experts.errors import MaskError
from experts.moe.activations import Activations
from experts.moe.collect import scan_prompts
from experts.moe.mask import ExpertMask
from experts.moe.scan import Scan
from experts.moe.score import contrast, risk_difference
from experts.moe.shape import LayerShape, MoeShape
from tests.experts.moe.models import ARCHITECTURES, EXPERTS, TOP_K, mixture, prompts
from tests.experts.moe.reference import replaced

NOTHING = ExpertMask(name="none", fingerprint="f")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_counts_are_those_of_each_prompt_alone(architecture: str) -> None:
    model, rows, done = mixture(architecture), prompts(5, 23), []
    found = scan_prompts(model, rows, max_batch=3, progress=done.append)
    assert done == [3, 5]
    for row, activations in zip(rows, found, strict=True):
        counts, weights = np.zeros_like(activations.counts), np.zeros_like(activations.weights)
        with replaced(architecture, model, NOTHING) as seen:
            ids, _, positions = pad([row], "cpu")
            model(input_ids=ids, position_ids=positions)
        for place, chosen in enumerate(seen.values()):
            for token in chosen:
                for expert, weight in token.items():
                    counts[place, expert] += 1
                    weights[place, expert] += weight
        assert activations.tokens == len(row)
        assert_array_equal(activations.counts, counts)
        assert_allclose(activations.weights, weights, atol=1e-4)
        assert_array_equal(activations.counts.sum(axis=1), len(row) * TOP_K)


def activations(seed: int, tokens: int) -> Activations:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 9, size=(2, EXPERTS))
    return Activations(counts, counts * generator.random((2, EXPERTS)), tokens)


def scan(*found: tuple[str, int, int], fingerprint: str = "f") -> Scan:
    layers = dict.fromkeys((1, 2), LayerShape(experts=EXPERTS, top_k=TOP_K))
    return Scan.of(
        MoeShape(fingerprint=fingerprint, layers=layers),
        [(name, activations(seed, tokens)) for name, seed, tokens in found],
    )


A, B, C, D = ("b", 0, 3), ("a", 1, 5), ("b", 2, 7), ("c", 3, 2)


def assert_equal(one: Scan, other: Scan) -> None:
    for field in ("shape", "layers", "classes", "prompts", "tokens"):
        assert getattr(one, field) == getattr(other, field)
    assert_array_equal(one.counts, other.counts)
    assert_allclose(one.weights, other.weights, rtol=1e-12)


def test_sums_by_class() -> None:
    found = scan(A, B, C)
    assert (found.classes, found.prompts, found.tokens) == (("a", "b"), (1, 2), (5, 10))
    assert_array_equal(found.counts[1], activations(0, 3).counts + activations(2, 7).counts)


def test_merging_is_scanning_together() -> None:
    assert_equal(scan(A, B).merged(scan(C, D)), scan(A, B, C, D))


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    found = scan(A, B, C, D)
    found.save(tmp_path / "scan.safetensors")
    assert_equal(Scan.load(tmp_path / "scan.safetensors"), found)
    assert '"fingerprint": "f"' in (tmp_path / "scan.json").read_text()


def test_scans_of_different_models_are_not_merged() -> None:
    with pytest.raises(MaskError, match="fingerprints f and g"):
        scan(A).merged(scan(B, fingerprint="g"))


def test_a_scan_of_nothing_is_refused() -> None:
    with pytest.raises(MaskError, match="at least one prompt"):
        scan()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "scan.safetensors"
    with pytest.raises(MaskError, match="Scan anew"):
        Scan.load(file)
    scan(A, B).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(MaskError, match="Scan anew"):
        Scan.load(file)
    scan(A).save(tmp_path / "other.safetensors")
    file.write_bytes((tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(MaskError, match="Scan anew"):
        Scan.load(file)


def test_contrast_is_the_difference_of_class_means() -> None:
    one, two, three = (activations(seed, 0).counts for seed in (0, 2, 1))
    assert_allclose(contrast(scan(A, B, C), "b"), (one + two) / 2 - three)
    # Of two other classes the mean, however many prompts they have.
    four = activations(3, 0).counts
    assert_allclose(contrast(scan(A, B, C, D), "c"), four - ((one + two) / 2 + three) / 2)
    weighted = activations(1, 0).weights - activations(3, 0).weights
    assert_allclose(contrast(scan(B, D), "a", weighted=True), weighted)


def test_risk_difference_is_per_token() -> None:
    one, two, three = (activations(seed, 0).counts for seed in (0, 2, 1))
    assert_allclose(risk_difference(scan(A, B, C), "a"), three / 5 - (one + two) / 10)


@pytest.mark.parametrize("score", [contrast, risk_difference])
def test_scores_need_two_classes(score: object) -> None:
    with pytest.raises(MaskError, match="another class"):
        score(scan(B), "a")  # type: ignore[operator]
    with pytest.raises(MaskError, match=r"\(a, b\).*'d'"):
        score(scan(A, B), "d")  # type: ignore[operator]
