"""Which requests the rows of a forward pass belong to.

vLLM's two model runners keep this in different places. In both, the rows of a request follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """The rows of one request in a forward pass.

    Attributes:
        arguments: the request's ``vllm_xargs``, as admission left them.
        start: its first row.
        stop: one past its last row.
        position: the place of the first row's token in the request.
        prompt_tokens: length of the request's prompt.
    """

    arguments: Mapping[str, Any]
    start: int
    stop: int
    position: int
    prompt_tokens: int


BeforeStep = Callable[[Sequence[Span]], None]


def watch_steps(runner: Any, before: BeforeStep) -> None:
    """Calls ``before`` with the spans of a step before each forward pass of vLLM's model runner.

    The runner of GPUs (V2) has not been run with this.
    """
    if hasattr(runner, "model_state"):
        _watch_second(runner.model_state, before)
    else:
        _watch_first(runner, before)


def _watch_first(runner: Any, before: BeforeStep) -> None:
    forward = runner._model_forward

    def watched(*arguments: Any, **keywords: Any) -> Any:
        batch = runner.input_batch
        starts = runner.query_start_loc.np[: batch.num_reqs + 1].tolist()
        spans = []
        for row, name in enumerate(batch.req_ids):
            request = runner.requests[name]
            spans.append(
                Span(
                    arguments=_arguments(request.sampling_params), start=starts[row], stop=starts[row + 1],
                    position=int(batch.num_computed_tokens_cpu[row]), prompt_tokens=request.num_prompt_tokens,
                )
            )  # fmt: skip
        before(spans)
        return forward(*arguments, **keywords)

    runner._model_forward = watched


def _watch_second(state: Any, before: BeforeStep) -> None:
    requests: dict[str, tuple[Mapping[str, Any], int]] = {}
    add, remove, prepare = state.add_request, state.remove_request, state.prepare_inputs

    def added(index: int, request: Any) -> Any:
        requests[request.req_id] = (_arguments(request.sampling_params), request.prompt_len)
        return add(index, request)

    def removed(name: str) -> Any:
        requests.pop(name, None)
        return remove(name)

    def prepared(batch: Any, states: Any) -> Any:
        starts = batch.query_start_loc_np.tolist()
        spans = []
        for row, name in enumerate(batch.req_ids):
            # Passes that only warm up have requests that were never added.
            arguments, length = requests.get(name, ({}, 0))
            position = int(batch.num_computed_tokens_np[row])
            spans.append(Span(arguments, starts[row], starts[row + 1], position, length))
        before(spans)
        return prepare(batch, states)

    state.add_request, state.remove_request, state.prepare_inputs = added, removed, prepared


def _arguments(sampling: Any) -> Mapping[str, Any]:
    return (sampling.extra_args if sampling is not None else None) or {}
