"""From a worker's spec to a running engine."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

from experts.engines.base import Capability, Engine
from experts.engines.config import LocalWorker, RecordedWorker, ScriptedWorker, VllmWorker, WorkerSpec
from experts.errors import EngineUnavailable

# transformers imports its parts when they are first named, which fails if two threads do it at once.
_LOADING = threading.Lock()


async def create_engine(worker: WorkerSpec) -> Engine:
    """Starts an engine; models load in another thread, so the event loop stays free.

    Raises:
        CheckpointError: the model's files are missing, incomplete or of a kind that is not accepted.
        EngineUnavailable: a vLLM worker has no server that runs.
        EngineError: the engine cannot be made.
    """
    match worker:
        case LocalWorker():
            return await asyncio.to_thread(_local, worker)
        case ScriptedWorker():
            from experts.engines.scripted import ScriptedEngine

            return ScriptedEngine(worker)
        case RecordedWorker():
            from experts.engines.recorded import RecordedEngine

            return RecordedEngine(worker)
        case VllmWorker():
            return await _vllm(worker)


def beyond(worker: WorkerSpec) -> frozenset[Capability]:
    """What no engine of such a worker can do, whatever its model: known without starting one."""
    writes = isinstance(worker, VllmWorker) and worker.task == "generate"
    return frozenset() if writes else frozenset({Capability.STRUCTURED_OUTPUTS})


def _local(worker: LocalWorker) -> Engine:
    with _LOADING:
        if worker.task == "embed":
            from experts.engines.local.encoder import SentenceEncoder

            return SentenceEncoder(worker)
        from experts.engines.local.engine import LocalEngine

        return LocalEngine(worker)


async def _vllm(worker: VllmWorker) -> Engine:
    from experts.engines.replicas.connect import connect
    from experts.engines.replicas.options import ReplicaOptions
    from experts.engines.vllm.engine import VllmEngine

    urls, key, admin_token = find_servers(worker)
    options = ReplicaOptions(max_concurrency=worker.max_concurrency, queue=worker.queue)
    return await connect({url: partial(VllmEngine.connect, worker, url, key, admin_token) for url in urls}, options)


def find_servers(worker: VllmWorker) -> tuple[tuple[str, ...], str | None, str | None]:
    """The base URLs of a worker's servers, their key and their admin token.

    Raises:
        EngineUnavailable: they are to run on this machine, and do not.
    """
    if worker.attached:
        return worker.attached, worker.api_key, worker.admin_token
    from experts.workers.records import find_running

    running = find_running(worker)
    if running is None:
        raise EngineUnavailable(
            f"expected a running vLLM server of {worker.model}, found none. Run `tokengraph workers up SPEC`, or give "
            "the worker the url of a server"
        )
    return running.urls, running.api_key, running.admin_token
