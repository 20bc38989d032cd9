"""From a worker to a command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from experts.engines.config import VllmWorker
from experts.engines.local.minilm import bundled_folder
from experts.errors import CheckpointError, WorkerPlanError
from experts.pocket import WEIGHTS
from experts.workers.command import Launch, vllm_launch


def launch(gpus: tuple[int, ...] = (), **settings: Any) -> Launch:
    worker = VllmWorker.model_validate({"engine": "vllm", "model": "owner/model", **settings})
    return vllm_launch("w", worker, gpus=gpus, api_key="the-key", admin_token="the-token")


def test_on_a_gpu() -> None:
    found = launch((2, 3), dtype="bfloat16", tensor_parallel=2, gpu_memory=0.4, quantization="fp8", plugin=False)
    assert found.argv[:3] == (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    assert set(found.argv[3:]) == {
        "--model=owner/model", "--served-model-name=owner/model", "--dtype=bfloat16", "--tensor-parallel-size=2",
        "--gpu-memory-utilization=0.4", "--quantization=fp8", "--host=127.0.0.1", "--disable-uvicorn-access-log",
    }  # fmt: skip
    assert found.environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert found.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "VLLM_PLUGINS" not in found.environment


def test_secrets_are_not_in_the_command_line() -> None:
    found = launch()
    assert found.environment["VLLM_API_KEY"] == "the-key"
    assert found.environment["TOKENGRAPH_ADMIN_TOKEN"] == "the-token"
    assert "the-" not in " ".join(found.argv)


def test_defaults_of_the_cpu_give_way_to_arguments() -> None:
    assert {"--enforce-eager", "--block-size=32", f"--kv-cache-memory-bytes={1 << 30}"} <= set(launch().argv)
    found = launch(arguments={"enforce_eager": False, "--block-size": 64, "max-model-len": 128})
    assert {"--no-enforce-eager", "--block-size=64", "--max-model-len=128"} <= set(found.argv)
    assert not {"--enforce-eager", "--block-size=32"} & set(found.argv)
    assert not any("block-size" in argument for argument in launch((0,)).argv)


def test_bundled_models_and_encoders() -> None:
    found = launch(model="pocket:spelling", task="embed")
    assert {f"--model={WEIGHTS / 'spelling'}", "--served-model-name=pocket:spelling"} <= set(found.argv)
    assert "--runner=pooling" in found.argv


def test_the_plugin_is_loaded_unless_the_spec_says_no() -> None:
    flags = {"--load-format=tokengraph", "--worker-extension-cls=experts.vllm_plugin.worker.WorkerExtension"}
    found = launch()
    assert flags <= set(found.argv)
    assert found.environment["VLLM_PLUGINS"] == "tokengraph"
    for other in (launch(plugin=False), launch(task="embed")):
        assert not flags & set(other.argv)
        assert "VLLM_PLUGINS" not in other.environment
    assert "--load-format=bitsandbytes" in launch(plugin=False, arguments={"load-format": "bitsandbytes"}).argv
    with pytest.raises(WorkerPlanError, match=r"load-format.*plugin: false"):
        launch(arguments={"load_format": "bitsandbytes"})


def test_a_token_router_is_built_into_the_server(tmp_path: Path) -> None:
    (tmp_path / "token_router.json").touch()
    argv = launch(token_router=str(tmp_path), mask_slots=4).argv
    assert "--logits-processors=experts.vllm_plugin.defer_processor:DeferProcessor" in argv
    (settings,) = (one.removeprefix("--additional-config=") for one in argv if one.startswith("--additional-config="))
    assert json.loads(settings) == {"tokengraph": {"masks": {"slots": 4}, "defer": {"router": str(tmp_path)}}}
    assert not any("logits-processors" in argument for argument in launch().argv)
    with pytest.raises(WorkerPlanError, match=r"token_router.*plugin: false"):
        launch(token_router=str(tmp_path), plugin=False)
    with pytest.raises(WorkerPlanError, match=r"mask_slots.*task: embed"):
        launch(mask_slots=4, task="embed")
    with pytest.raises(WorkerPlanError, match="logits-processors"):
        launch(token_router=str(tmp_path), arguments={"logits_processors": "mine:Own"})
    with pytest.raises(CheckpointError, match=r"token router.*nowhere"):
        launch(token_router="nowhere")


@pytest.mark.parametrize(("ranks", "served"), [((4,), 8), ((8, 12), 16), ((33,), 64), ((512,), 512)])
def test_adapters_of_every_rank_fit(tmp_path: Path, ranks: tuple[int, ...], served: int) -> None:
    folders = {f"a{rank}": tmp_path / str(rank) for rank in ranks}
    for rank, folder in zip(ranks, folders.values(), strict=True):
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": 1, "rank_pattern": {"q_proj": rank}}))
    argv = launch((0,), adapters=folders).argv
    assert {"--enable-lora", f"--max-lora-rank={served}", f"--max-loras={len(ranks)}"} <= set(argv)
    modules = argv[argv.index("--lora-modules") + 1 :]
    assert modules == tuple(f"{name}={folder}" for name, folder in folders.items())


def test_one_slot_for_adapters_stays_empty_on_a_cpu(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 8}')
    folders = {f"a{number}": tmp_path for number in range(10)}
    assert {"--max-loras=11", "--max-cpu-loras=11"} <= set(launch(adapters=folders).argv)
    assert {"--max-loras=8", "--max-cpu-loras=10"} <= set(launch((0,), adapters=folders).argv)


def test_the_bundled_encoder() -> None:
    folder = bundled_folder("all-MiniLM-L6-v2")
    found = launch(model="all-MiniLM-L6-v2", task="embed")
    assert f"--model={folder or 'sentence-transformers/all-MiniLM-L6-v2'}" in found.argv


@pytest.mark.parametrize("config", ["{}", "[]", "{", '{"r": "x"}', '{"r": 4096}', None])
def test_adapters_without_a_usable_rank(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(CheckpointError, match=r"adapter a .*adapter_config\.json"):
        launch(adapters={"a": tmp_path})


def test_sleep_mode() -> None:
    found = launch((0,), sleep_after=60)
    assert {"--enable-sleep-mode", "--enable-server-load-tracking"} <= set(found.argv)
    assert found.environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert "VLLM_SERVER_DEV_MODE" not in launch((0,)).environment
    with pytest.raises(WorkerPlanError, match="sleep_after at worker w, found 60"):
        launch(sleep_after=60)


@pytest.mark.parametrize("name", ["port", "api_key", "--served-model-name"])
def test_arguments_that_are_tokengraphs_own(name: str) -> None:
    with pytest.raises(WorkerPlanError, match="worker w that tokengraph does not set itself"):
        launch(arguments={name: "1"})
