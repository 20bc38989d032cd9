"""What happens at vLLM's door to a request that may defer: are its settings right, and on which token does it stop?"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from typing import Any

from vllm.exceptions import VLLMValidationError

from experts.engines.vllm.wire import AFTER_ARGUMENT, CRITICALITY_ARGUMENT, THRESHOLD_ARGUMENT
from experts.vllm_plugin.defer import DEFER, SCORES

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")


class DeferAdmission:
    """Turns ``vllm_xargs`` of requests into what the instrument reads.

    Args:
        token: the defer token.
    """

    def __init__(self, token: int) -> None:
        self._token = token

    def guard(self, engine: Any) -> None:
        """Lets no request into the engine but through here, whatever route it comes by."""
        generate = engine.generate

        def guarded(prompt: Any, sampling: Any, *arguments: Any, **keywords: Any) -> AsyncIterator[Any]:
            self.admit(sampling)
            outputs: AsyncIterator[Any] = generate(prompt, sampling, *arguments, **keywords)
            return outputs

        engine.generate = guarded

    def admit(self, sampling: Any) -> None:
        """Checks a request's arguments and puts those of the instrument in their place.

        Raises:
            VLLMValidationError: one of them is wrong; clients get HTTP 400.
        """
        arguments = {key: value for key, value in (sampling.extra_args or {}).items() if key not in (DEFER, SCORES)}
        threshold, after = arguments.pop(THRESHOLD_ARGUMENT, None), arguments.pop(AFTER_ARGUMENT, 0)
        key = arguments.pop(CRITICALITY_ARGUMENT, None)
        if not _is_count(after):
            raise _wrong(AFTER_ARGUMENT, "a number of tokens, at least 0", after)
        if key is not None:
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise _wrong(CRITICALITY_ARGUMENT, "up to 64 letters, digits, - and _, new for each request", key)
            if sampling.n != 1:
                raise _wrong("n", "1, as scores belong to one answer", sampling.n)
            arguments[SCORES] = key
        if threshold is not None:
            if not _is_threshold(threshold):
                raise _wrong(THRESHOLD_ARGUMENT, "a finite number, at least 0", threshold)
            if sampling.structured_outputs is not None:
                raise _wrong("structured_outputs", "none where tokens may be deferred", "a grammar")
            arguments[DEFER] = (float(threshold), after)
            sampling.stop_token_ids = [*(sampling.stop_token_ids or ()), self._token]
        sampling.extra_args = arguments or None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_threshold(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _wrong(parameter: str, expected: str, found: object) -> VLLMValidationError:
    return VLLMValidationError(
        f"expected {parameter} to be {expected}, found {found!r}. Correct the request", parameter=parameter
    )
