"""From a worker's spec to a running engine."""

from __future__ import annotations

import asyncio

from experts.engines.base import Engine
from experts.engines.config import LocalWorker, RecordedWorker, ScriptedWorker, WorkerSpec
from experts.errors import EngineError


async def create_engine(worker: WorkerSpec) -> Engine:
    """Starts an engine; models load in another thread, so the event loop stays free.

    Raises:
        CheckpointError: the model's files are missing, incomplete or of a kind that is not accepted.
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
        case _:
            raise EngineError(
                f"expected an engine that this version has (local, scripted, recorded), found {worker.engine}: "
                f"engine {worker.engine} is not available in this version. Use engine: local"
            )


def _local(worker: LocalWorker) -> Engine:
    if worker.task == "embed":
        from experts.engines.local.encoder import SentenceEncoder

        return SentenceEncoder(worker)
    from experts.engines.local.engine import LocalEngine

    return LocalEngine(worker)
