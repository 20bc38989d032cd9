"""Masks inside transformers models of every architecture, against routing recomputed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from experts.engines.local.decoding import pad
from experts.errors import MaskError, RequestError
from experts.moe.apply import ModelMasks
from experts.moe.blocks import find_blocks
from experts.moe.mask import ExpertMask
from tests.experts.engines.checkpoints import random_model
from tests.experts.moe.models import ARCHITECTURES, EXPERTS, PRINT, TOP_K, mask, masks, mixture, prompts
from tests.experts.moe.reference import replaced

MASKS = tuple(masks().values())


def forward(model: Any, rows: list[tuple[int, ...]]) -> torch.Tensor:
    """Log-probabilities after the last token of each prompt."""
    ids, padding, positions = pad(rows, "cpu")
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=padding, position_ids=positions).logits
    return logits[:, -1].log_softmax(-1)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(architecture: str) -> Any:
    return mixture(architecture)


@pytest.fixture
def applied(model: Any) -> ModelMasks:
    made = ModelMasks(model, PRINT)
    made.set({one.name: one for one in MASKS})
    return made


def test_blocks(architecture: str, model: Any) -> None:
    blocks = find_blocks(model)
    assert [block.layer for block in blocks] == ([1, 2] if architecture == "deepseek_v3" else [0, 1, 2])
    for block in blocks:
        assert (block.experts, block.rule.top_k) == (EXPERTS, TOP_K)
        assert block.rule.normalised == (architecture != "olmoe")
        assert (block.rule.groups, block.rule.groups_chosen) == ((4, 2) if architecture == "deepseek_v3" else (1, 1))


@pytest.mark.parametrize("one", MASKS, ids=lambda one: one.name)
def test_a_mask_does_what_it_says(architecture: str, model: Any, applied: ModelMasks, one: ExpertMask) -> None:
    rows = prompts(3, 20, seed=1)
    with applied.applied([one.name] * len(rows)):
        found = forward(model, rows)
    with replaced(architecture, model, one):
        expected = forward(model, rows)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found - forward(model, rows)).abs().max() > 1e-3


@pytest.mark.parametrize("one", MASKS, ids=lambda one: one.name)
def test_what_is_off_is_never_chosen_and_what_is_forced_always(
    model: Any, applied: ModelMasks, one: ExpertMask
) -> None:
    chosen: dict[int, torch.Tensor] = {}

    def record(layer: int) -> Any:
        def hook(_gate: Any, _inputs: Any, output: tuple[torch.Tensor, ...]) -> None:
            _, weights, ids = output
            chosen[layer] = torch.zeros(len(ids), EXPERTS).scatter(1, ids, (weights > 0).float())

        return hook

    with applied.applied([one.name]):
        hooks = [block.gate.register_forward_hook(record(block.layer)) for block in find_blocks(model)]
        forward(model, prompts(1, 40))
        for hook in hooks:
            hook.remove()
    for layer, part in one.layers.items():
        assert chosen[layer][:, list(part.off)].sum() == 0
        assert chosen[layer][:, list(part.force)].all()


def test_clearing_is_bitwise(model: Any, applied: ModelMasks) -> None:
    rows = prompts(4, 17)
    before = forward(model, rows)
    with applied.applied([one.name for one in MASKS[:4]]):
        assert not torch.equal(forward(model, rows), before)
    assert torch.equal(forward(model, rows), before)
    assert not any(block.gate._forward_hooks for block in find_blocks(model))


@pytest.fixture
def row_by_row(model: Any) -> Iterator[None]:
    """An expert that multiplies other numbers of rows at once may sum each of them differently; here it takes one by one."""
    before = model.config._experts_implementation
    model.set_experts_implementation("batched_mm")
    yield
    model.set_experts_implementation(before)


@pytest.mark.usefixtures("row_by_row")
def test_rows_without_a_mask_are_bitwise_as_before(model: Any, applied: ModelMasks) -> None:
    rows = prompts(1, 12) * 4
    before = forward(model, rows)
    with applied.applied([None, "off", None, "dropped"]):
        found = forward(model, rows)
    assert torch.equal(found[[0, 2]], before[[0, 2]])
    assert not torch.allclose(found[[1, 3]], before[[1, 3]])


def test_each_row_of_a_batch_is_as_alone(model: Any, applied: ModelMasks) -> None:
    names = [*(one.name for one in MASKS), None]
    rows = prompts(len(names), 30, seed=2)
    with applied.applied(names) as batch:
        together = forward(model, rows)
        batch.keep([6, 2])
        fewer = forward(model, [rows[6], rows[2]])
    for row, name in enumerate(names):
        with applied.applied([name]):
            alone = forward(model, [rows[row]])
        torch.testing.assert_close(together[row], alone[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(fewer, together[[6, 2]], atol=1e-6, rtol=1e-6)


def test_all_chosen_experts_dropped_leave_nothing(model: Any) -> None:
    """Where everything that a token chose is switched off afterwards, the experts add nothing; it is no division by zero."""
    all_chosen = (4, 5, 6, 7)
    applied = ModelMasks(model, PRINT)
    applied.set({"m": mask("m", "after", l2={"off": all_chosen, "bias": dict.fromkeys(all_chosen, 500.0)})})
    with applied.applied(["m"]):
        found = forward(model, prompts(1, 9))
    gate = find_blocks(model)[-1].gate
    hook = gate.register_forward_hook(lambda _gate, _inputs, output: (output[0], output[1] * 0, output[2]))
    expected = forward(model, prompts(1, 9))
    hook.remove()
    assert torch.equal(found, expected)


def test_unknown_names_are_refused(applied: ModelMasks) -> None:
    with (
        pytest.raises(RequestError, match=r"expected one of this worker's expert masks .*biased.*'sharpened'"),
        applied.applied(["sharpened"]),
    ):
        pass


def test_a_mask_of_another_model_changes_nothing(applied: ModelMasks) -> None:
    names = applied.names
    other = MASKS[0].model_copy(update={"fingerprint": "0" * 32})
    with pytest.raises(MaskError, match="fingerprint"):
        applied.set({"other": other})
    assert applied.names == names


def test_a_model_without_experts_is_refused() -> None:
    with pytest.raises(MaskError, match="Qwen3ForCausalLM"):
        find_blocks(random_model("qwen3"))
