"""From workers to launches, and what a machine has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from experts.engines.config import VllmWorker
from experts.errors import WorkerError, WorkerPlanError
from experts.workers.devices import Gpu, find_gpus, read_gpus
from experts.workers.plan import plan

TABLE = """\
0, GPU-a, NVIDIA H200, 143771, 143000
1, GPU-b, NVIDIA H200, 143771, 1000
3, GPU-d, NVIDIA H200, 143771, 143771
"""


def worker(**settings: Any) -> VllmWorker:
    return VllmWorker.model_validate({"engine": "vllm", "model": "owner/model", **settings})


def test_gpus_as_nvidia_smi_lists_them() -> None:
    assert read_gpus(TABLE)[1] == Gpu(1, "GPU-b", "NVIDIA H200", 143771, 1000)


@pytest.mark.parametrize(
    ("allowed", "found"), [(None, [0, 1, 3]), ("3,1", [1, 3]), ("GPU-d, 0", [0, 3]), ("", []), ("-1", [])]
)
def test_only_gpus_that_this_process_may_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, found: list[int]
) -> None:
    nvidia_smi(tmp_path, f"cat <<'END'\n{TABLE}END", monkeypatch)
    gpus = find_gpus({} if allowed is None else {"CUDA_VISIBLE_DEVICES": allowed})
    assert [gpu.index for gpu in gpus] == found


def test_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus({}) == ()


def test_a_driver_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "echo No devices were found; exit 6", monkeypatch)
    with pytest.raises(WorkerError, match="found: No devices were found"):
        find_gpus({})


def nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "nvidia-smi"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_replicas_get_gpus_by_their_numbers() -> None:
    made = plan("s.yaml", {"a": worker(replicas=2), "b": worker(gpu_memory=0.05)}, gpus=read_gpus(TABLE), cpu=False)
    devices = {w.name: [launch.environment["CUDA_VISIBLE_DEVICES"] for launch in w.launches] for w in made.workers}
    assert devices == {"a": ["0", "3"], "b": ["0"]}


def test_the_free_memory_counts() -> None:
    with pytest.raises(WorkerPlanError, match=r"worker a needs 3 x 0.9 .* 3 GPUs with 0.995, 0.00696, 1 free"):
        plan("s.yaml", {"a": worker(replicas=3)}, gpus=read_gpus(TABLE), cpu=False)


def test_a_build_for_gpus_needs_one() -> None:
    with pytest.raises(WorkerError, match="expected a GPU"):
        plan("s.yaml", {"a": worker()}, gpus=(), cpu=False)


def test_the_cpu_build_leaves_gpus_alone() -> None:
    (made,) = plan("s.yaml", {"a": worker(replicas=2)}, gpus=read_gpus(TABLE), cpu=True).workers
    assert [launch.environment["CUDA_VISIBLE_DEVICES"] for launch in made.launches] == ["", ""]


def test_secrets_are_a_workers_own() -> None:
    made = plan("s.yaml", {"a": worker(replicas=2), "b": worker(api_key="chosen")}, gpus=(), cpu=True).workers
    assert made[1].api_key == "chosen"
    assert len({made[0].api_key, made[0].admin_token, made[1].api_key, made[1].admin_token}) == 4
    assert {launch.environment["VLLM_API_KEY"] for launch in made[0].launches} == {made[0].api_key}
    assert len(made[0].api_key) >= 32
