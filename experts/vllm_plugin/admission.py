"""What happens to a request at vLLM's door: are its mask and its scan known, and what may it share a prefix cache with?

Keys and values that were computed under a mask must never serve another request: the salt of the cache is the mask's
content. A scan computes all of its prompt, so its salt is its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from vllm.exceptions import VLLMValidationError

from experts.engines.requests import NO_MASK
from experts.engines.vllm.wire import MASK_ARGUMENT, SCAN_ARGUMENT
from experts.moe.mask import ExpertMask
from experts.vllm_plugin.counting import SCAN
from experts.vllm_plugin.masks import SLOT

MOST_PROMPTS = 512  # of all open scans; their counts are kept in memory

_OURS = "tokengraph:"


class Admission:
    """The masks and scans that requests may name, and the slots in which the workers hold the masks.

    A mask that is replaced or removed keeps its slot until the last request that uses it has ended. Masks whose name is
    their digest are those of clients that put them again when they are missed: they make room for others.

    Args:
        slots: masks at once, at most.

    Attributes:
        default: the name of the mask of requests that name none; None: they have none.
    """

    def __init__(self, slots: int) -> None:
        self.default: str | None = None
        self._slots = slots
        self._masks: dict[str, str] = {}  # what was used last is last
        self._slot_of: dict[str, int] = {}
        self._running: Counter[str] = Counter()
        self._scans: dict[str, set[str]] = {}

    @property
    def masks(self) -> dict[str, str]:
        """The digest of each mask by name."""
        return dict(self._masks)

    def holds(self, mask: ExpertMask) -> bool:
        """Whether the workers have a mask that does the same."""
        return mask.digest in self._slot_of

    def reserve(self) -> int | None:
        """A slot for another mask, which nobody uses; None if there is no free one."""
        if (slot := self._free()) is None:
            kept = {*self._running, self.default}
            unnamed = (name for name, digest in self._masks.items() if name == digest and digest not in kept)
            if (oldest := next(unnamed, None)) is not None:
                del self._masks[oldest]
                slot = self._free()
        return slot

    def register(self, mask: ExpertMask, slot: int | None = None) -> None:
        """From now on requests may name the mask.

        Args:
            slot: where the workers hold it, if they did not hold it before.
        """
        if slot is not None:
            self._slot_of[mask.digest] = slot
        self._masks[mask.name] = mask.digest

    def forget(self, name: str) -> bool:
        """From now on requests may not name the mask; whether they could before."""
        self.default = None if self.default == name else self.default
        return self._masks.pop(name, None) is not None

    def open_scan(self, scan: str) -> bool:
        """From now on requests may belong to a scan; whether it is new."""
        if scan in self._scans:
            return False
        self._scans[scan] = set()
        return True

    def close_scan(self, scan: str) -> bool:
        """From now on requests may not belong to it; whether they could before."""
        return self._scans.pop(scan, None) is not None

    def guard(self, engine: Any) -> None:
        """Lets no request into the engine but through here, whatever route it comes by."""
        generate = engine.generate

        def guarded(prompt: Any, sampling: Any, *arguments: Any, **keywords: Any) -> AsyncIterator[Any]:
            digest, prompt = self._admit(prompt, sampling)
            outputs = generate(prompt, sampling, *arguments, **keywords)
            return outputs if digest is None else self._counted(digest, self._slot_of[digest], outputs)

        engine.generate = guarded

    def _admit(self, prompt: Any, sampling: Any) -> tuple[str | None, Any]:
        """The digest of the request's mask, and the prompt with its salt; the arguments become those of the workers."""
        arguments = {key: value for key, value in (sampling.extra_args or {}).items() if key not in (SLOT, SCAN)}
        mask, scan = arguments.pop(MASK_ARGUMENT, self.default), arguments.pop(SCAN_ARGUMENT, None)
        mask = None if mask == NO_MASK else mask
        salt = prompt.get("cache_salt") if isinstance(prompt, dict) else None
        if (salt or "").startswith(_OURS):
            raise VLLMValidationError(f"expected a cache_salt that does not begin with {_OURS}. Choose another")
        if mask is None and scan is None:
            sampling.extra_args = arguments or None
            return None, prompt
        if not isinstance(prompt, dict):
            raise VLLMValidationError("expected a prompt of text or token ids with an expert mask or scan. Send one")
        digest = None
        if mask is not None:
            digest = self._known(mask)
            arguments[SLOT] = self._slot_of[digest]
        own = ""
        if scan is not None:
            arguments[SCAN] = self._enter(scan)
            own = uuid4().hex
        sampling.extra_args = arguments
        return digest, prompt | {"cache_salt": f"{_OURS}{digest or ''}:{own}:{salt or ''}"}

    def _free(self) -> int | None:
        """A slot whose mask nobody can name and no running request has."""
        kept = {*self._masks.values(), *self._running}
        self._slot_of = {digest: slot for digest, slot in self._slot_of.items() if digest in kept}
        free = set(range(1, self._slots + 1)) - set(self._slot_of.values())
        return min(free, default=None)

    def _known(self, name: object) -> str:
        if not isinstance(name, str) or name not in self._masks:
            known = ", ".join(sorted(self._masks)) or "none"
            raise VLLMValidationError(
                f"expected one of this server's masks ({known}), found {name!r}. Register it first",
                parameter=MASK_ARGUMENT,
            )
        digest = self._masks[name] = self._masks.pop(name)
        return digest

    def _enter(self, scan: object) -> tuple[str, str]:
        name, _, key = str(scan).partition("/")
        problem = None
        if name not in self._scans or not key:
            problem = f"expected SCAN/KEY of an open scan, found {scan!r}. Open the scan first"
        elif key in self._scans[name]:
            problem = f"expected a key of its own for each prompt of a scan, found {key!r} twice. Choose another"
        elif sum(map(len, self._scans.values())) >= MOST_PROMPTS:
            problem = f"expected at most {MOST_PROMPTS} prompts in open scans, found more. Close one first"
        if problem is not None:
            raise VLLMValidationError(problem, parameter=SCAN_ARGUMENT)
        self._scans[name].add(key)
        return name, key

    async def _counted(self, digest: str, slot: int, outputs: AsyncIterator[Any]) -> AsyncIterator[Any]:
        # Between admission and this moment the slot may have been given to another mask.
        if self._slot_of.get(digest) != slot:
            raise VLLMValidationError(
                "expected a mask that is registered, found it removed. Register it first", parameter=MASK_ARGUMENT
            )
        self._running[digest] += 1
        try:
            async with aclosing(outputs) as stream:  # type: ignore[type-var]
                async for output in stream:
                    yield output
        finally:
            self._running[digest] -= 1
            self._running += Counter()  # drops what is at zero
