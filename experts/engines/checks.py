"""Checks of a request that every engine makes before it starts to work."""

from __future__ import annotations

import math
import time
from collections.abc import Collection

from experts.engines.requests import NEVER, NO_MASK, Defer, GenerateRequest
from experts.errors import CapabilityError, DeadlineExceeded, RequestError


def check_request(
    request: GenerateRequest,
    *,
    vocabulary_size: int,
    adapters: Collection[str] = (),
    masks: Collection[str] = (),
    defers: bool = False,
    structures: bool = False,
) -> None:
    """Raises RequestError if the request is wrong in itself or does not fit the model.

    Args:
        vocabulary_size: token ids must be below it.
        adapters: names of the LoRA adapters that the engine has.
        masks: names of the masks of experts that the engine has.
        defers: the engine has a token router.
        structures: the engine can hold an answer to JSON.

    Raises:
        RequestError: see above.
        CapabilityError: the request needs a token router, or an engine that can hold an answer to JSON.
        DeadlineExceeded: nobody waits for the answer any more.
    """
    if request.deadline is not None and time.monotonic() >= request.deadline:
        raise deadline_exceeded()
    if bool(request.messages) == (request.prompt_ids is not None):
        found = "both" if request.messages else "neither"
        raise RequestError(f"expected either messages or prompt_ids, found {found}. Give exactly one of them")
    _check_numbers(request)
    for name in ("prompt_ids", "forced_ids", "first_token_ids", "allowed_token_ids", "stop_token_ids", "logit_bias"):
        for token in getattr(request, name) or ():
            if not 0 <= token < vocabulary_size:
                raise RequestError(
                    f"expected {name} from 0 to {vocabulary_size - 1}, found {token}. Use ids of this engine's encode()"
                )
    for name in ("first_token_ids", "allowed_token_ids"):
        if getattr(request, name) == ():
            raise RequestError(f"expected at least one id in {name}, found none. Use None for no restriction")
    if "" in request.stop:
        raise RequestError("expected stop texts of at least one character, found an empty one. Leave it out")
    if request.adapter is not None and request.adapter not in adapters:
        known = ", ".join(sorted(adapters)) or "none"
        raise RequestError(
            f"expected one of this worker's adapters ({known}), found {request.adapter!r}. Add it to the spec"
        )
    check_mask_name(request.expert_mask, masks)
    if (request.defer is not None or request.criticality) and not defers:
        raise CapabilityError(
            "expected a worker that can defer, found one without a token router. Give it `token_router` in the spec: a "
            "folder made by `tokengraph train token-router`"
        )
    if request.structure is not None:
        _check_structured(request, structures)


def check_mask_name(name: str | None, masks: Collection[str]) -> None:
    """Raises RequestError unless the mask of experts is one of the engine's, or none."""
    if name is not None and name != NO_MASK and name not in masks:
        known = ", ".join(sorted(masks)) or "none"
        raise RequestError(f"expected one of this worker's expert masks ({known}), found {name!r}. Register it first")


def deadline_exceeded() -> DeadlineExceeded:
    """The error of a request whose deadline has passed."""
    return DeadlineExceeded(
        "expected an answer before the request's deadline, found that it has passed. Allow more time"
    )


def check_prompt(length: int, context_length: int) -> None:
    """Raises RequestError unless the prompt has at least one token and leaves room for an answer."""
    if length == 0:
        raise RequestError("expected a prompt of at least one token, found an empty one. Give a message or prompt_ids")
    if length >= context_length:
        raise RequestError(
            f"expected a prompt shorter than the context of {context_length} tokens, found {length}. "
            "Shorten it, or use a model with a longer context"
        )


def _check_structured(request: GenerateRequest, structures: bool) -> None:
    if not structures:
        raise CapabilityError(
            "expected a worker that can hold an answer to JSON, found one that cannot. Use engine: vllm in the spec, or ask "
            "for text"
        )
    for name in ("first_token_ids", "allowed_token_ids", "defer"):  # the answer takes several calls with these
        if getattr(request, name) is not None:
            raise RequestError(f"expected either a structure or {name}, found both. Leave one out")


def _check_numbers(request: GenerateRequest) -> None:
    sampling, defer = request.sampling, request.defer or Defer(0.0)
    strongest = max(map(abs, request.logit_bias.values()), default=0.0)
    for name, value, right, valid in (
        ("max_tokens", request.max_tokens, "at least 1", request.max_tokens >= 1),
        ("top_logprobs", request.top_logprobs, "at least 0", request.top_logprobs >= 0),
        ("temperature", sampling.temperature, "at least 0", sampling.temperature >= 0),
        ("top_p", sampling.top_p, "above 0 and at most 1", 0 < sampling.top_p <= 1),
        ("logit_bias", request.logit_bias, f"from {NEVER:g} to {-NEVER:g}", strongest <= -NEVER),
        ("defer.threshold", defer.threshold, "a finite number, at least 0", 0 <= defer.threshold < math.inf),
        ("defer.after", defer.after, "at least 0", defer.after >= 0),
    ):
        if not valid:
            raise RequestError(f"expected {name} {right}, found {value}. Correct the request")
