"""The command and the environment that start one vLLM server of a worker."""

from __future__ import annotations

import json
import sys
from collections.abc import Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from experts.defer.files import locate
from experts.engines.config import VllmWorker
from experts.engines.local.minilm import bundled_folder, hub_id
from experts.errors import CheckpointError, WorkerPlanError

HOST = "127.0.0.1"
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM has kernels for
_ADAPTERS_AT_ONCE = 8
_CPU_DEFAULTS: dict[str, str | int | bool] = {
    "enforce-eager": True,
    "block-size": 32,  # with vLLM's 128, few prompts share a full block
    "kv-cache-memory-bytes": 1 << 30,  # vLLM would take the share gpu_memory of the whole machine
}
_OURS = {"model", "served-model-name", "host", "port", "api-key"}
_PROCESSOR = "experts.vllm_plugin.defer_processor:DeferProcessor"
_PLUGIN = {"load-format": "tokengraph", "worker-extension-cls": "experts.vllm_plugin.worker.WorkerExtension"}


class Launch(BaseModel):
    """How one server is started.

    Attributes:
        argv: the command; whoever runs it adds ``--port`` and the port.
        environment: variables on top of those of this process.
        sleep_after: idle seconds after which the server is sent to sleep; None: never.
    """

    model_config = ConfigDict(frozen=True)
    argv: tuple[str, ...]
    environment: dict[str, str]
    sleep_after: float | None = None


def vllm_launch(
    name: str,
    worker: VllmWorker,
    *,
    gpus: tuple[int, ...],
    api_key: str,
    admin_token: str,
) -> Launch:
    """A vLLM server that is reachable from this machine only.

    The server's model name is the worker's ``model`` as the spec has it. The key travels in the environment, where other
    users of the machine cannot read it. With tokengraph's plugin the server loads no other plugins.

    Args:
        name: the worker's name, for messages.
        gpus: the GPUs that it may use; none: the CPU.
        admin_token: what tokengraph's plugin asks for; it finds it in ``TOKENGRAPH_ADMIN_TOKEN``.

    Raises:
        WorkerPlanError: an argument cannot be given, a token router has no plugin, or the CPU is asked to sleep.
        CheckpointError: an adapter's configuration cannot be read, or the token router is missing.
    """
    if worker.sleep_after is not None and not gpus:
        raise WorkerPlanError(
            f"expected no sleep_after at worker {name}, found {worker.sleep_after:g}: vLLM's sleep mode gives back GPU "
            "memory, and this worker runs on the CPU. Remove sleep_after"
        )
    options: dict[str, str | int | float | bool] = {"model": str(_model(worker)), "dtype": worker.dtype}
    options |= {"served-model-name": worker.model, "host": HOST, "disable-uvicorn-access-log": True}
    options |= {"tensor-parallel-size": worker.tensor_parallel} if worker.tensor_parallel > 1 else {}
    options |= {"gpu-memory-utilization": worker.gpu_memory} if gpus else _CPU_DEFAULTS
    options |= {"quantization": worker.quantization} if worker.quantization else {}
    options |= {"runner": "pooling"} if worker.task == "embed" else {}
    options |= {"enable-sleep-mode": True, "enable-server-load-tracking": True} if worker.sleep_after else {}
    plugin = worker.plugin and worker.task == "generate"
    needed = "a token_router" if worker.token_router else "mask_slots" if worker.mask_slots else None
    if needed and not plugin:
        raise WorkerPlanError(
            f"expected worker {name}, which has {needed}, to write text with tokengraph's plugin, found "
            f"{'plugin: false' if worker.task == 'generate' else 'task: embed'}. Remove one of them"
        )
    ours = {**_PLUGIN, **_instruments(worker)} if plugin else {}
    options |= ours
    options |= _passed_through(name, worker, _OURS | ours.keys())
    argv = (
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        *_flags(options),
        *_adapters(worker, cpu=not gpus),
    )
    environment = {"VLLM_API_KEY": api_key, "TOKENGRAPH_ADMIN_TOKEN": admin_token, "VLLM_NO_USAGE_STATS": "1"}
    # nvidia-smi numbers GPUs by their bus, CUDA does so only when told.
    environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    environment |= {"VLLM_PLUGINS": "tokengraph"} if plugin else {}
    # The routes of the sleep mode exist in this mode only. Nothing guards them but the loopback address.
    environment |= {"VLLM_SERVER_DEV_MODE": "1"} if worker.sleep_after else {}
    return Launch(argv=argv, environment=environment, sleep_after=worker.sleep_after)


def _model(worker: VllmWorker) -> str | Path:
    if worker.model.startswith("pocket:"):
        from experts.pocket import resolve

        return resolve(worker.model.removeprefix("pocket:"))
    return bundled_folder(worker.model) or hub_id(worker.model)


def _instruments(worker: VllmWorker) -> dict[str, str]:
    """What the plugin builds into the model, by its settings."""
    settings: dict[str, Any] = {"masks": {"slots": worker.mask_slots}} if worker.mask_slots else {}
    settings |= {"defer": {"router": str(locate(worker.token_router).resolve())}} if worker.token_router else {}
    options = {"additional-config": json.dumps({"tokengraph": settings})} if settings else {}
    return options | ({"logits-processors": _PROCESSOR} if worker.token_router else {})


def _passed_through(name: str, worker: VllmWorker, ours: Set[str]) -> dict[str, str | int | float | bool]:
    arguments = {key.lstrip("-").replace("_", "-"): value for key, value in worker.arguments.items()}
    if taken := sorted(ours & arguments.keys()):
        raise WorkerPlanError(
            f"expected arguments of worker {name} that tokengraph does not set itself, found {', '.join(taken)}. Remove "
            "them: a model and a key have places of their own in the spec, and plugin: false frees the load format"
        )
    return arguments


def _flags(options: dict[str, str | int | float | bool]) -> list[str]:
    flags: list[str] = []
    for key, value in options.items():
        if isinstance(value, bool):
            flags.append(f"--{key}" if value else f"--no-{key}")
        else:
            flags.append(f"--{key}={value}")
    return flags


def _adapters(worker: VllmWorker, *, cpu: bool) -> list[str]:
    if not worker.adapters:
        return []
    rank = max(_rank(name, folder) for name, folder in worker.adapters.items())
    count = len(worker.adapters)
    # On CPUs vLLM 0.32 applies the adapter in the last slot to requests without one, so that slot stays empty.
    slots = count + 1 if cpu else min(count, _ADAPTERS_AT_ONCE)
    return [
        "--enable-lora", f"--max-lora-rank={rank}", f"--max-loras={slots}",
        f"--max-cpu-loras={max(count, slots)}", "--lora-modules", *(f"{name}={folder}" for name, folder in worker.adapters.items()),
    ]  # fmt: skip


def _rank(name: str, folder: Path) -> int:
    """The smallest rank that vLLM offers and that holds the adapter."""
    file = folder / "adapter_config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rank = max([content["r"], *content.get("rank_pattern", {}).values()])
        return next(offered for offered in _RANKS if offered >= rank)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"expected the configuration of adapter {name} with its rank r in {file}, found none ({error}). Correct it"
        ) from error
    except StopIteration:
        raise CheckpointError(
            f"expected adapter {name} of rank {_RANKS[-1]} at most, the highest that vLLM serves, found {rank} in {file}. "
            "Merge the adapter into the model"
        ) from None
