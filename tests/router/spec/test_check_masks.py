"""Masks of experts in specs: every mistake with its place and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.errors import SpecError
from router.spec import load_spec
from tests.router.mixtures import load, mixture_graph, write

NODE = {"kind": "expert", "worker": "moe"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture_graph(tmp_path_factory.mktemp("mixture")).parent


def problems(folder: Path, node: dict[str, Any], *, thorough: bool = False, **workers: Any) -> str:
    try:
        load_spec(write(folder / "wrong.yaml", {"a": NODE | node}, **workers), thorough=thorough)
    except SpecError as error:
        return str(error)
    return ""


def test_paths_count_from_the_file(folder: Path) -> None:
    spec = load_spec(folder / "graph.yaml", thorough=True)
    assert getattr(spec.nodes["masked"], "expert_mask") == folder / "off.json"  # noqa: B009


def test_missing_and_damaged_files(folder: Path) -> None:
    assert "No such file" in problems(folder, {"expert_mask": "nosuch.json"})
    (folder / "damaged.json").write_text('{"version": 1, "name": "x"}')
    found = problems(folder, {"expert_masks": ["off.json", "damaged.json"]})
    assert "fingerprint: Field required" in found and "expert_masks" in found


def test_names_are_unique_and_none_is_taken(folder: Path) -> None:
    assert "'off' twice" in problems(
        folder, {"expert_mask": "off.json", "expert_masks": ["forced.json", "off.json"]}
    ).replace('"', "'")
    load(folder, "off").model_copy(update={"name": "none"}).save(folder / "named-none.json")
    assert "asks for no mask" in problems(folder, {"expert_mask": "named-none.json"})


@pytest.mark.parametrize(
    ("worker", "found"),
    [
        ({"engine": "vllm", "model": "./mixture"}, "mask_slots: 32"),
        ({"engine": "vllm", "model": "./mixture", "url": "http://x:1/v1"}, "admin_token"),
        ({"engine": "scripted", "rules": [{"answer": "x"}]}, "engine local or vllm"),
        ({"engine": "vllm", "model": "./mixture", "mask_slots": 4}, ""),
        ({"engine": "vllm", "model": "./mixture", "url": "http://x:1/v1", "admin_token": "a"}, ""),
    ],
)
def test_workers_that_have_masks(folder: Path, worker: dict[str, Any], found: str) -> None:
    told = problems(folder, {"worker": "w", "expert_mask": "off.json"}, w=worker)
    assert found in told if found else told == ""


def test_whether_a_mask_fits_is_found_out_on_demand(folder: Path) -> None:
    assert problems(folder, {"expert_mask": "foreign.json"}) == ""
    assert "fingerprint" in problems(folder, {"expert_mask": "foreign.json"}, thorough=True)
    mask = load(folder, "off")
    mask.model_copy(update={"layers": {7: mask.layers[1]}}).save(folder / "layer.json")
    assert "layer 7" in problems(folder, {"expert_masks": ["layer.json"]}, thorough=True)


def test_a_dense_model_has_no_experts(folder: Path) -> None:
    worker = {"engine": "local", "model": "pocket:spelling"}
    told = problems(folder, {"worker": "w", "expert_mask": "off.json"}, thorough=True, w=worker)
    assert "mixture of experts" in told
