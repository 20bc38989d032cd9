"""From scores to masks, and the random masks that a mask is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from experts.errors import MaskError
from experts.moe.check import check_mask
from experts.moe.mask import ExpertMask, LayerMask
from experts.moe.shape import MoeShape

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

Selection = Mapping[int, tuple[int, ...]]
"""Experts by layer."""

_TRIES = 1000


def select_top(
    scores: NDArray[float64], layers: Sequence[int], count: int, *, per_layer: int | None = None
) -> dict[int, tuple[int, ...]]:
    """The experts with the highest scores in all layers together; of equal ones the first.

    Args:
        scores: float64 [layers, experts].
        layers: the index of each layer among all layers of the model.
        count: how many.
        per_layer: of one layer at most.

    Raises:
        MaskError: there are not that many.
    """
    rows, experts = scores.shape
    cap = experts if per_layer is None else min(per_layer, experts)
    if not 1 <= count <= rows * cap:
        raise MaskError(f"expected 1 to {rows * cap} experts to select, found {count}. Ask for fewer, or raise the cap")
    chosen: dict[int, list[int]] = {}
    left = count
    for cell in np.argsort(-scores, axis=None, kind="stable"):
        row, expert = divmod(int(cell), experts)
        place = chosen.setdefault(layers[row], [])
        if len(place) < cap:
            place.append(expert)
            left -= 1
        if left == 0:
            break
    return {layer: tuple(sorted(chosen[layer])) for layer in sorted(chosen)}


def make_mask(
    name: str,
    shape: MoeShape,
    selection: Selection,
    *,
    use: Literal["off", "force", "bias"] = "off",
    bias: float = 0.0,
    mode: Literal["before", "after"] = "before",
    made: Mapping[str, str | int | float | bool] | None = None,
) -> ExpertMask:
    """A mask of the selected experts.

    Args:
        use: what it does to them.
        bias: what it adds, if it biases.
        made: how it was made, for people.

    Raises:
        MaskError: it does not fit the model.
    """

    def part(experts: tuple[int, ...]) -> LayerMask:
        match use:
            case "off":
                return LayerMask(off=experts)
            case "force":
                return LayerMask(force=experts)
            case "bias":
                return LayerMask(bias=dict.fromkeys(experts, bias))

    layers = {layer: part(experts) for layer, experts in selection.items()}
    mask = ExpertMask(name=name, fingerprint=shape.fingerprint, mode=mode, made=made or {}, layers=layers)
    check_mask(mask, shape)
    return mask


def random_like(mask: ExpertMask, shape: MoeShape, seed: int) -> ExpertMask:
    """A control: as many experts off, forced and biased in each layer as in ``mask``, chosen at random.

    The same seed gives the same mask; its name is that of ``mask`` and the seed.

    Raises:
        MaskError: ``mask`` does not fit the model, or hardly any other mask of its size does.
    """
    check_mask(mask, shape)
    generator = np.random.default_rng(seed)
    made: dict[str, str | int | float | bool] = {"method": "random", "like": mask.name, "seed": seed}
    for _ in range(_TRIES):
        layers = {
            index: _shuffled(layer, generator.permutation(shape.layers[index].experts).tolist())
            for index, layer in mask.layers.items()
        }
        drawn = mask.model_copy(update={"name": f"{mask.name[:48]}-{seed}", "made": made, "layers": layers})
        if _fits(drawn, shape):
            return drawn
    raise MaskError(
        f"expected random masks of the size of {mask.name} that fit the model, found none. Mask fewer experts"
    )


def _shuffled(layer: LayerMask, other: Sequence[int]) -> LayerMask:
    """The same layer mask, each expert exchanged for another one."""
    return LayerMask(
        off=tuple(other[expert] for expert in layer.off),
        force=tuple(other[expert] for expert in layer.force),
        bias={other[expert]: bias for expert, bias in sorted(layer.bias.items())},
    )


def _fits(mask: ExpertMask, shape: MoeShape) -> bool:
    """Where experts are in groups, not every choice leaves a token enough."""
    try:
        check_mask(mask, shape)
    except MaskError:
        return False
    return True
