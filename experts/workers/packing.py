"""Which GPUs does each server get? First fit decreasing, by shares of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experts.errors import WorkerPlanError

_ROUNDING = 1e-6  # shares are typed in decimals; 0.7 + 0.3 must fit into 1


@dataclass(frozen=True)
class Demand:
    """What one worker asks for: ``replicas`` times ``gpus`` different GPUs, of each the ``share`` of its memory."""

    name: str
    replicas: int
    gpus: int
    share: float

    def __str__(self) -> str:
        count = self.replicas * self.gpus
        detail = f" ({self.replicas} replicas on {self.gpus} GPUs each)" if self.replicas > 1 and self.gpus > 1 else ""
        return f"worker {self.name} needs {count} x {self.share:g} of a GPU{detail}"


def pack(demands: Sequence[Demand], free: Sequence[float]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Places every replica of every worker; the widest and then the largest ones first.

    Args:
        free: the free share, from 0 to 1, of each GPU.

    Returns:
        For each worker the GPUs, as positions in ``free``, of each of its replicas.

    Raises:
        WorkerPlanError: there is no room, with the arithmetic.
    """
    left = list(free)
    places: dict[str, list[tuple[int, ...]]] = {demand.name: [] for demand in demands}
    for demand in sorted(demands, key=lambda demand: (-demand.gpus, -demand.share)):
        for _ in range(demand.replicas):
            room = [gpu for gpu, share in enumerate(left) if share + _ROUNDING >= demand.share]
            if len(room) < demand.gpus:
                raise WorkerPlanError(_refusal(demand, demands, free, left))
            chosen = tuple(room[: demand.gpus])
            for gpu in chosen:
                left[gpu] -= demand.share
            places[demand.name].append(chosen)
    return {name: tuple(replicas) for name, replicas in places.items()}


def _refusal(unplaced: Demand, demands: Sequence[Demand], free: Sequence[float], left: Sequence[float]) -> str:
    needed = sum(demand.replicas * demand.gpus * demand.share for demand in demands)
    each = "; ".join(map(str, demands))
    return (
        f"expected room for all workers: {each}; together {needed:g}. Found {_shares(free)}; "
        f"with the larger ones placed, {unplaced.name} finds {_shares(left)}. "
        "Lower gpu_memory or replicas, or free a GPU"
    )


def _shares(free: Sequence[float]) -> str:
    if len(free) == 1:
        return f"1 GPU with {abs(free[0]):.3g} free"
    return f"{len(free)} GPUs with " + ", ".join(f"{abs(share):.3g}" for share in free) + " free"
