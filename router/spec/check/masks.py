"""Do the masks of experts that nodes name exist, and do they fit the nodes' models?"""

from __future__ import annotations

from collections.abc import Iterator

from experts.engines.config import LocalWorker, VllmWorker, WorkerSpec
from experts.errors import CheckpointError, MaskError
from experts.moe.mask import ExpertMask
from router.spec.check.files import folder_of
from router.spec.models import ExpertNode, GraphSpec
from router.spec.positions import Finding, Findings, KeyPath
from router.spec.wording import quoted


def check_masks(spec: GraphSpec) -> Findings:
    """Problems of mask files that show without looking at models."""
    for name, node in spec.nodes.items():
        if not isinstance(node, ExpertNode):
            continue
        seen: set[str] = set()
        for path, mask in _masks(name, node):
            if isinstance(mask, MaskError):
                yield Finding(
                    path, "a file with a mask of experts", str(mask), "make one with `tokengraph experts mask`"
                )
            elif mask.name == "none":
                yield Finding(path, "a mask of another name", "none, which asks for no mask", "rename it in its file")
            elif mask.name in seen and path[2] == "expert_masks":
                yield Finding(path, "masks of different names", f"{quoted(mask.name)} twice", "rename one in its file")
            else:
                seen.add(mask.name)
        if node.expert_mask is not None or node.expert_masks:
            yield from _check_worker(name, spec.workers.get(node.worker))


def check_fit(spec: GraphSpec) -> Findings:
    """Masks that do not fit their model, as far as its files are at hand. They are read whole for this."""
    from experts.moe.check import check_mask
    from experts.moe.described import read_shape

    for name, node in spec.nodes.items():
        if not isinstance(node, ExpertNode) or not (node.expert_mask or node.expert_masks):
            continue
        worker = spec.workers.get(node.worker)
        folder = None if worker is None else folder_of(worker)
        if folder is None:
            continue
        try:
            shape = read_shape(folder)
        except (CheckpointError, MaskError) as error:
            yield Finding(("nodes", name, "worker"), "a mixture of experts", str(error), "name a worker that is one")
            continue
        for path, mask in _masks(name, node):
            if isinstance(mask, ExpertMask):
                try:
                    check_mask(mask, shape)
                except MaskError as error:
                    yield Finding(
                        path, "a mask that fits the node's model", str(error), "correct the mask, or name another"
                    )


def _masks(name: str, node: ExpertNode) -> Iterator[tuple[KeyPath, ExpertMask | MaskError]]:
    files = [] if node.expert_mask is None else [(("nodes", name, "expert_mask"), node.expert_mask)]
    more = ((("nodes", name, "expert_masks", place), file) for place, file in enumerate(node.expert_masks))
    path: KeyPath
    for path, file in (*files, *more):
        try:
            yield path, ExpertMask.load(file)
        except MaskError as error:
            yield path, error


def _check_worker(name: str, worker: WorkerSpec | None) -> Findings:
    path: KeyPath = ("nodes", name, "worker")
    if isinstance(worker, VllmWorker):
        if worker.attached and worker.admin_token is None:
            fix = "give the worker admin_token, and start its servers with tokengraph's plugin"
            yield Finding(path, "a server whose admin token is known", "none", fix)
        elif not worker.attached and not worker.mask_slots:
            yield Finding(path, "a vLLM worker with mask_slots", "none", "add `mask_slots: 32` to the worker")
    elif worker is not None and not isinstance(worker, LocalWorker):
        found = f"one with engine {worker.engine}"
        yield Finding(path, "a worker that can mask experts", found, "use engine local or vllm")
