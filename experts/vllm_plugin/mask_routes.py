"""Routes under ``/v1/tokengraph``, ``masks``, ``default`` and ``scans``: masks come and go while the server runs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request

from experts.engines.requests import NO_MASK
from experts.errors import MaskError
from experts.moe.check import check_mask
from experts.moe.mask import ExpertMask
from experts.moe.shape import MoeShape
from experts.vllm_plugin.admission import Admission

INSTRUMENT = "masks"

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class MaskControl:
    """What one API server knows of the masks in its workers.

    Args:
        engine: vLLM's client of its engine.
        described: what the instrument says about itself.
        model: the model, as vLLM was told.
    """

    def __init__(self, engine: Any, described: dict[str, Any], model: str) -> None:
        self.admission = Admission(described["slots"])
        self.admission.guard(engine)
        self._engine = engine
        self._model = model
        self._layers = described["layers"]
        self._shape: MoeShape | None = None
        self._lock = asyncio.Lock()

    async def shape(self) -> MoeShape:
        """What masks have to fit. The fingerprint, which takes reading the weights, is made when first asked for."""
        async with self._lock:
            if self._shape is None:
                from experts.engines.vllm.facts import read_facts

                facts = await asyncio.to_thread(read_facts, self._model)
                self._shape = MoeShape(fingerprint=facts.fingerprint, layers=self._layers)
            return self._shape

    async def put(self, mask: ExpertMask) -> None:
        """Registers a mask, in place of one of the same name; requests that run with that one go on with it.

        Raises:
            MaskError: it does not fit the model, or has the name that means none.
        """
        if mask.name == NO_MASK:
            raise MaskError(f"expected another name than {NO_MASK}, which requests write for no mask. Choose another")
        check_mask(mask, await self.shape())
        async with self._lock:
            slot = None
            if not self.admission.holds(mask):
                slot = self.admission.reserve()
                if slot is None:
                    raise HTTPException(
                        409, "expected room for another mask, found none. Remove one, or allow more slots"
                    )
                await self.call("write", slot, mask.model_dump_json())
            self.admission.register(mask, slot)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Calls the instrument in every worker; the answer of the first one."""
        answers = await self._engine.collective_rpc("tokengraph_call", args=(INSTRUMENT, method, *arguments))
        return answers[0]


def mask_routes() -> APIRouter:
    """The routes, to be put behind the admin token."""
    router = APIRouter()
    router.add_api_route("/masks", list_masks, methods=["GET"])
    router.add_api_route("/masks/{name}", put_mask, methods=["PUT"])
    router.add_api_route("/masks/{name}", delete_mask, methods=["DELETE"])
    router.add_api_route("/default/{name}", set_default, methods=["PUT"])
    router.add_api_route("/default", clear_default, methods=["DELETE"])
    router.add_api_route("/scans/{name}", open_scan, methods=["PUT"])
    router.add_api_route("/scans/{name}", close_scan, methods=["DELETE"])
    return router


async def list_masks(request: Request) -> dict[str, Any]:
    """The digests of all masks by name, which one is everybody's, and what a mask has to fit."""
    control = _control(request)
    admission, shape = control.admission, await control.shape()
    return {"masks": admission.masks, "default": admission.default, "shape": shape.model_dump(mode="json")}


async def put_mask(request: Request, name: Name) -> dict[str, str]:
    """Registers a mask; the body is a mask file."""
    control = _control(request)
    try:
        mask = ExpertMask.parse(await request.body(), "the body")
        if mask.name != name:
            raise MaskError(f"expected the mask that the path names, {name}, found {mask.name}. Correct one of them")
        await control.put(mask)
    except MaskError as error:
        raise HTTPException(400, str(error)) from error
    return {"name": name, "digest": mask.digest}


async def delete_mask(request: Request, name: Name) -> None:
    """Removes a mask; requests that run with it go on with it."""
    if not _control(request).admission.forget(name):
        raise HTTPException(404, f"expected one of this server's masks, found {name!r}. Correct the name")


async def set_default(request: Request, name: Name) -> None:
    """From now on requests that name no mask have this one; those that run go on as they began."""
    admission = _control(request).admission
    if name not in admission.masks:
        raise HTTPException(404, f"expected one of this server's masks, found {name!r}. Correct the name")
    admission.default = name


async def clear_default(request: Request) -> dict[str, str | None]:
    """From now on requests that name no mask have none; the answer says which one they had."""
    admission = _control(request).admission
    before, admission.default = admission.default, None
    return {"default": before}


async def open_scan(request: Request, name: Name) -> None:
    """Begins a scan: requests may belong to it by ``vllm_xargs: {expert_scan: NAME/KEY}``."""
    control = _control(request)
    if not control.admission.open_scan(name):
        raise HTTPException(409, f"expected a scan that is not open, found {name!r}. Choose another name, or close it")
    await control.call("open_scan", name)


async def close_scan(request: Request, name: Name) -> dict[str, Any]:
    """Ends a scan: by the key of each request its counts and weights [layers, experts], and its counted tokens."""
    control = _control(request)
    if not control.admission.close_scan(name):
        raise HTTPException(404, f"expected an open scan, found {name!r}. Open it first")
    found: dict[str, Any] = await control.call("close_scan", name)
    return found


def _control(request: Request) -> MaskControl:
    control: MaskControl | None = request.app.state.tokengraph_masks
    if control is None:
        raise HTTPException(
            409, 'expected a server with masks, found one without. Start it with {"tokengraph": {"masks": {}}}'
        )
    return control
