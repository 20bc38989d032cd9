"""Mask files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experts.errors import MaskError
from experts.moe.check import check_mask
from experts.moe.mask import ExpertMask, LayerMask
from experts.moe.shape import LayerShape, MoeShape

PRINT = "f" * 32
PLAIN = MoeShape(fingerprint=PRINT, layers={index: LayerShape(experts=8, top_k=2) for index in range(4)})
GROUPED = MoeShape(fingerprint=PRINT, layers={3: LayerShape(experts=16, top_k=4, groups=4, groups_chosen=2)})


def mask(layers: dict[int, dict[str, Any]], **fields: Any) -> ExpertMask:
    return ExpertMask.model_validate({"name": "m", "fingerprint": PRINT, "layers": layers} | fields)


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    whole = mask(
        {10: {"off": [7, 1]}, 2: {"force": [3], "bias": {"4": -0.5, "1": 2.0}}},
        mode="after", made={"method": "contrast", "top": 3},
    )  # fmt: skip
    whole.save(tmp_path / "mask.json")
    assert ExpertMask.load(tmp_path / "mask.json") == whole
    assert (tmp_path / "mask.json").read_text() == (
        '{\n  "version": 1,\n  "name": "m",\n  "fingerprint": "' + PRINT + '",\n  "mode": "after",\n'
        '  "made": {"method": "contrast", "top": 3},\n  "layers": {\n'
        '    "2": {"force": [3], "bias": {"4": -0.5, "1": 2.0}},\n    "10": {"off": [1, 7]}\n  }\n}\n'
    )


def test_an_empty_mask_comes_back(tmp_path: Path) -> None:
    mask({}).save(tmp_path / "mask.json")
    assert ExpertMask.load(tmp_path / "mask.json") == mask({})


def test_size_and_digest() -> None:
    one = mask({0: {"off": [1, 2]}, 3: {"off": [2], "bias": {2: 1.0, 5: 1.0}}})
    assert one.size == 4
    assert one.digest == mask({3: {"off": [2], "bias": {5: 1.0, 2: 1.0}}, 0: {"off": [2, 1]}}, name="other").digest
    assert len({one.digest, mask({}).digest, mask({}, mode="after").digest, mask({}, fingerprint="0").digest}) == 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "a mask"}, "name"),
        ({"name": "../mask"}, "name"),
        ({"name": "m" * 65}, "name"),
        ({"version": 2}, "version"),
        ({"fingerprint": ""}, "fingerprint"),
        ({"mode": "during"}, "mode"),
        ({"experts": []}, "experts"),
        ({"layers": {"-1": {}}}, "layers"),
        ({"layers": {"0": {"on": [1]}}}, "layers.0.on"),
        ({"layers": {"0": {"off": [-1]}}}, "layers.0.off.0"),
        ({"layers": {"0": {"off": [1, 2], "force": [3, 2]}}}, r"\[2\] in both"),
        ({"layers": {"0": {"bias": {"1": 1e9}}}}, "layers.0.bias.1"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    content = {"name": "m", "fingerprint": PRINT, "layers": {"0": {"off": [1]}}} | change
    (tmp_path / "mask.json").write_text(json.dumps(content))
    with pytest.raises(MaskError, match=f"mask.json.*{named}"):
        ExpertMask.load(tmp_path / "mask.json")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "m", "layers": {"0": {"bias": {"1": NaN}}}}'])
def test_what_is_no_mask_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "mask.json").write_text(content)
    with pytest.raises(MaskError, match="expected a mask of experts"):
        ExpertMask.load(tmp_path / "mask.json")


@pytest.mark.parametrize("bias", [float("nan"), float("inf"), -float("inf")])
def test_a_bias_is_finite(bias: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        LayerMask(bias={0: bias})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="No such file"):
        ExpertMask.load(tmp_path / "mask.json")


@pytest.mark.parametrize(
    ("shape", "layers", "message"),
    [
        (PLAIN, {4: {"off": [1]}}, r"\(0 to 3\).*layer 4"),
        (GROUPED, {0: {"off": [1]}}, r"\(3\).*layer 0"),
        (PLAIN, {1: {"off": [8]}}, "experts 0 to 7.*layer 1, found 8"),
        (PLAIN, {1: {"force": [9]}}, "found 9"),
        (PLAIN, {1: {"bias": {10: 1.0}}}, "found 10"),
        (PLAIN, {1: {"force": [1, 2, 3]}}, "at most 2 forced.*found 3"),
        (PLAIN, {1: {"off": [0, 1, 2, 3, 4, 5, 6]}}, "at least 2 experts left.*found 1"),
        (GROUPED, {3: {"force": [0, 4, 8]}}, "at most 2 groups.*groups 0, 1, 2"),
        # One group has two experts left, the others have one each.
        (GROUPED, {3: {"off": [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13]}}, "at least 4 experts left.*found 3"),
        # The forced expert's group comes first, though it has nobody else.
        (GROUPED, {3: {"off": [1, 2, 3, 4, 5], "force": [0]}}, "at least 4 experts left.*found 3"),
    ],
)
def test_masks_that_do_not_fit_are_refused(shape: MoeShape, layers: dict[int, Any], message: str) -> None:
    with pytest.raises(MaskError, match=message):
        check_mask(mask(layers), shape)


def test_a_mask_of_another_model_is_refused() -> None:
    with pytest.raises(MaskError, match=f"fingerprint {PRINT}.*found 0"):
        check_mask(mask({}, fingerprint="0"), PLAIN)


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        (PLAIN, {}),
        (PLAIN, {0: {"off": [0, 1, 2, 3, 4, 5]}, 3: {"force": [0, 7], "bias": {3: -5.0}}}),
        (GROUPED, {3: {"off": [0, 1, 4, 5, 8, 9, 12, 13]}}),
        (GROUPED, {3: {"off": [0, 1, 2, 3, 4, 5, 6, 7]}}),
        (GROUPED, {3: {"force": [0, 1, 4, 5]}}),
    ],
)
def test_masks_that_fit(shape: MoeShape, layers: dict[int, Any]) -> None:
    check_mask(mask(layers), shape)
