"""The layers of a model in vLLM that have experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experts.errors import MaskError
from experts.moe.routing import Rule
from experts.moe.shape import LayerShape


@dataclass(frozen=True)
class MoeLayer:
    """A layer with experts.

    Attributes:
        index: its place among all layers of the model.
        router: vLLM's object that chooses experts for rows of logits.
        experts: number of them.
        later: a factor of all weights that vLLM applies to what the experts have computed.
    """

    index: int
    router: Any
    experts: int
    rule: Rule
    later: float

    @property
    def shape(self) -> LayerShape:
        """What a mask has to fit."""
        rule = self.rule
        return LayerShape(experts=self.experts, top_k=rule.top_k, groups=rule.groups, groups_chosen=rule.groups_chosen)


def find_layers(model: Any, vllm_config: Any) -> tuple[MoeLayer, ...]:
    """The layers with experts, in the order of the layers.

    Raises:
        MaskError: there are none, or vLLM runs them in a way in which they cannot be masked.
    """
    from vllm.model_executor.layers.fused_moe.runner.moe_runner_interface import MoERunnerInterface

    parallel = vllm_config.parallel_config
    for name in ("pipeline_parallel_size", "data_parallel_size"):
        if (found := getattr(parallel, name)) != 1:
            raise MaskError(
                f"expected {name} 1, with which masks of experts work, found {found}. Start replicas instead"
            )
    if parallel.enable_eplb:
        raise MaskError(
            "expected experts that stay where they are, found enable_eplb. Remove it, or serve without masks"
        )
    runners = [module for module in model.modules() if isinstance(module, MoERunnerInterface)]
    if not runners:
        raise MaskError(f"expected a mixture of experts, found {type(model).__name__}. Serve it without masks")
    return tuple(sorted((_layer(runner) for runner in runners), key=lambda layer: layer.index))


def _layer(runner: Any) -> MoeLayer:
    if runner.is_monolithic or runner.moe_config.is_sequence_parallel:
        raise MaskError(
            f"expected experts of {runner.layer_name} that are chosen before they compute, found a kernel that does both "
            "or sequence parallelism. Choose another --moe-backend, or serve without masks"
        )
    router = runner.router
    return MoeLayer(
        index=runner.layer_id, router=router, experts=router.global_num_experts, rule=_rule(router, runner.layer_name),
        later=runner.routed_scaling_factor,
    )  # fmt: skip


def _rule(router: Any, name: str) -> Rule:
    """How a router chooses. Those for the CPU know all ways; those for GPUs lack the attributes of other ways."""
    correction = getattr(router, "e_score_correction_bias", None)
    groups = getattr(router, "num_expert_group", None) or 1
    grouped = getattr(router, "use_grouped_topk", groups > 1)
    custom = getattr(router, "custom_routing_function", None)
    if custom is None and router.scoring_func == "softmax" and not grouped and correction is None:
        return Rule(top_k=router.top_k, normalised=router.renormalize)
    if custom is None and router.scoring_func == "sigmoid" and correction is not None:
        return Rule(
            top_k=router.top_k, scoring="sigmoid", normalised=router.renormalize, scale=router.routed_scaling_factor,
            groups=groups if grouped else 1, groups_chosen=router.topk_group if grouped else 1, correction=correction,
        )  # fmt: skip
    raise MaskError(
        f"expected experts of {name} that are chosen in the manner of Qwen3-MoE, Mixtral, OLMoE, gpt-oss or DeepSeek-V3, "
        f"found {type(router).__name__} with {router.scoring_func}. Serve it without masks"
    )
