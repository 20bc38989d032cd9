"""Whether a mask fits a model."""

from __future__ import annotations

from collections.abc import Collection

from experts.errors import MaskError
from experts.moe.mask import ExpertMask, LayerMask
from experts.moe.shape import LayerShape, MoeShape


def check_mask(mask: ExpertMask, shape: MoeShape) -> None:
    """Checks everything that could make a mask do something else than it says.

    Raises:
        MaskError: it was made for another model, names a layer or an expert that there is not, forces more experts than
            a token has, or leaves too few.
    """
    if mask.fingerprint != shape.fingerprint:
        raise MaskError(
            f"expected mask {mask.name} to be made for this model, with fingerprint {shape.fingerprint}, found "
            f"{mask.fingerprint}. Scan this model, and make a mask of that"
        )
    for index, layer in mask.layers.items():
        if index not in shape.layers:
            raise MaskError(
                f"expected layers with experts ({_ranges(shape.layers)}) in mask {mask.name}, found layer {index}. "
                "Remove it"
            )
        _check_layer(layer, shape.layers[index], f"mask {mask.name}, layer {index}")


def _check_layer(layer: LayerMask, shape: LayerShape, place: str) -> None:
    if outside := [expert for expert in layer.experts if expert >= shape.experts]:
        raise MaskError(f"expected experts 0 to {shape.experts - 1} in {place}, found {_list(outside)}. Remove them")
    if len(layer.force) > shape.top_k:
        raise MaskError(
            f"expected at most {shape.top_k} forced experts in {place}, as many as a token has, found "
            f"{len(layer.force)}. Force fewer"
        )
    groups = {shape.group_of(expert) for expert in layer.force}
    if len(groups) > shape.groups_chosen:
        raise MaskError(
            f"expected forced experts of at most {shape.groups_chosen} groups in {place}, as many as a token has, found "
            f"groups {_list(sorted(groups))}. Force experts of fewer groups"
        )
    if (left := shape.choosable(layer.off, layer.force)) < shape.top_k:
        raise MaskError(
            f"expected at least {shape.top_k} experts left to choose from in {place}, found {left}. Switch off fewer"
        )


def _ranges(indices: Collection[int]) -> str:
    numbers = sorted(indices)
    whole = numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 2
    return f"{numbers[0]} to {numbers[-1]}" if whole else _list(numbers)


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
