"""Selections and random masks, for all scores and shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experts.errors import MaskError
from experts.moe.check import check_mask
from experts.moe.mask import ExpertMask
from experts.moe.select import make_mask, random_like, select_top
from experts.moe.shape import LayerShape, MoeShape

LAYERS = (1, 2, 5)
PLAIN = MoeShape(fingerprint="f", layers={index: LayerShape(experts=8, top_k=2) for index in LAYERS})
GROUPED = MoeShape(
    fingerprint="f", layers={index: LayerShape(experts=16, top_k=4, groups=4, groups_chosen=2) for index in LAYERS}
)

SCORES = arrays(np.float64, (3, 8), elements=st.integers(-3, 3).map(float))


@given(SCORES, st.integers(1, 24))
def test_the_highest_scores_are_selected(scores: np.ndarray, count: int) -> None:
    chosen = select_top(scores, LAYERS, count)
    inside = [scores[LAYERS.index(layer), expert] for layer, experts in chosen.items() for expert in experts]
    assert sorted(inside, reverse=True) == sorted(scores.flatten(), reverse=True)[:count]
    assert all(len(set(experts)) == len(experts) > 0 for experts in chosen.values())


@given(SCORES, st.integers(1, 24), st.integers(1, 8))
def test_no_layer_gives_more_than_its_cap(scores: np.ndarray, count: int, cap: int) -> None:
    if count > 3 * cap:
        with pytest.raises(MaskError, match=f"1 to {3 * cap} experts"):
            select_top(scores, LAYERS, count, per_layer=cap)
        return
    chosen = select_top(scores, LAYERS, count, per_layer=cap)
    assert sum(map(len, chosen.values())) == count
    for layer, row in zip(LAYERS, scores, strict=True):
        taken = chosen.get(layer, ())
        assert len(taken) <= cap
        # A layer gives its best; and if it could give more, nothing better is left in it than was taken elsewhere.
        assert sorted((row[e] for e in taken), reverse=True) == sorted(row, reverse=True)[: len(taken)]
        worst = min(scores[LAYERS.index(other), e] for other, experts in chosen.items() for e in experts)
        assert len(taken) == cap or all(row[e] <= worst for e in range(8) if e not in taken)


@pytest.mark.parametrize("count", [0, -1, 25])
def test_impossible_counts_are_refused(count: int) -> None:
    with pytest.raises(MaskError, match=f"found {count}"):
        select_top(np.zeros((3, 8)), LAYERS, count)


def test_masks_of_a_selection() -> None:
    selection = {1: (0, 3), 5: (7,)}
    off = make_mask("m", PLAIN, selection, mode="after", made={"method": "contrast"})
    assert (off.layers[1].off, off.layers[5].off, off.mode, off.fingerprint) == ((0, 3), (7,), "after", "f")
    assert make_mask("m", PLAIN, selection, use="force").layers[1].force == (0, 3)
    assert make_mask("m", PLAIN, selection, use="bias", bias=-1.5).layers[5].bias == {7: -1.5}
    with pytest.raises(MaskError, match="at most 2 forced"):
        make_mask("m", PLAIN, {1: (0, 1, 2)}, use="force")


def sizes(mask: ExpertMask) -> dict[int, tuple[int, int, list[float]]]:
    return {i: (len(part.off), len(part.force), sorted(part.bias.values())) for i, part in mask.layers.items()}


@st.composite
def masks(draw: st.DrawFn) -> ExpertMask:
    layers = {}
    for index in draw(st.sets(st.sampled_from(LAYERS), min_size=1)):
        experts = draw(st.permutations(range(16)))
        off, force = draw(st.integers(0, 4)), draw(st.integers(0, 2))
        biases = draw(st.lists(st.floats(-5, 5), max_size=3))
        layers[index] = {
            "off": experts[:off], "force": experts[off : off + force], "bias": dict(zip(experts[6:], biases, strict=False)),
        }  # fmt: skip
    return ExpertMask.model_validate({"name": "m", "fingerprint": "f", "layers": layers})


@given(masks(), st.integers(0, 2**31))
def test_random_masks_have_the_sizes_of_the_original(mask: ExpertMask, seed: int) -> None:
    try:
        check_mask(mask, GROUPED)
    except MaskError:
        with pytest.raises(MaskError):
            random_like(mask, GROUPED, seed)
        return
    control = random_like(mask, GROUPED, seed)
    check_mask(control, GROUPED)
    assert sizes(control) == sizes(mask)
    assert control == random_like(mask, GROUPED, seed)
    assert control.made == {"method": "random", "like": "m", "seed": seed}


def test_random_masks_cover_all_experts() -> None:
    mask = make_mask("m", PLAIN, {1: (0, 1, 2)})
    drawn = [random_like(mask, PLAIN, seed).layers[1].off for seed in range(300)]
    times = np.bincount(np.array(drawn).flatten(), minlength=8)
    assert times.min() > 0.7 * 300 * 3 / 8
    assert len(set(drawn)) > 50  # of 56


def test_the_name_of_a_control_is_a_name() -> None:
    mask = make_mask("m" * 64, PLAIN, {1: (0,)})
    control = random_like(mask, PLAIN, 2**31)
    assert ExpertMask.model_validate(control.model_dump()) == control
