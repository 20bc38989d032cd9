"""From the workers of a spec to the servers to start."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from experts.engines.config import VllmWorker
from experts.errors import WorkerError
from experts.workers.command import Launch, vllm_launch
from experts.workers.devices import Gpu
from experts.workers.packing import Demand, pack
from experts.workers.records import worker_key

_SECRET_BYTES = 24


class PlannedWorker(BaseModel):
    """A worker that is to run: one launch for each replica, and the secrets that all of them share."""

    model_config = ConfigDict(frozen=True)
    name: str
    key: str
    api_key: str
    admin_token: str
    launches: tuple[Launch, ...]


class Plan(BaseModel):
    """All that one supervisor is to run.

    Attributes:
        spec: path of the graph spec that the workers come from.
    """

    model_config = ConfigDict(frozen=True)
    spec: str
    workers: tuple[PlannedWorker, ...]


def plan(spec: str, workers: Mapping[str, VllmWorker], *, gpus: Sequence[Gpu], cpu: bool) -> Plan:
    """Says how to start every replica of ``workers`` on this machine.

    Args:
        spec: path of the graph spec, kept with what runs.
        gpus: the GPUs that there are.
        cpu: whether the installed vLLM is the CPU build.

    Raises:
        WorkerPlanError: the memory does not suffice, or a setting cannot be met here.
        WorkerError: this build of vLLM needs a GPU, and there is none.
        CheckpointError: the configuration of an adapter cannot be read.
    """
    if not cpu and not gpus:
        raise WorkerError(
            "expected a GPU for this build of vLLM, found none (nvidia-smi lists none). Install the CPU build of vLLM, "
            "use engine: local, or give the url of a server elsewhere"
        )
    places = {name: ((),) * worker.replicas for name, worker in workers.items()} if cpu else _placed(workers, gpus)
    return Plan(spec=spec, workers=tuple(_planned(name, worker, places[name]) for name, worker in workers.items()))


def _placed(workers: Mapping[str, VllmWorker], gpus: Sequence[Gpu]) -> dict[str, tuple[tuple[int, ...], ...]]:
    demands = [Demand(name, w.replicas, w.tensor_parallel, w.gpu_memory) for name, w in workers.items()]
    places = pack(demands, [gpu.free / gpu.total for gpu in gpus])
    return {n: tuple(tuple(gpus[i].index for i in replica) for replica in replicas) for n, replicas in places.items()}


def _planned(name: str, worker: VllmWorker, places: tuple[tuple[int, ...], ...]) -> PlannedWorker:
    api_key = worker.api_key or secrets.token_urlsafe(_SECRET_BYTES)
    admin_token = secrets.token_urlsafe(_SECRET_BYTES)
    launches = (vllm_launch(name, worker, gpus=gpus, api_key=api_key, admin_token=admin_token) for gpus in places)
    return PlannedWorker(
        name=name, key=worker_key(worker), api_key=api_key, admin_token=admin_token, launches=tuple(launches)
    )
