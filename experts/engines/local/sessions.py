"""Keys and values that wait for the request that continues an answer."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from experts.engines.local.key_values import Past
from experts.engines.requests import GenerateRequest, Session


@dataclass(frozen=True)
class _Kept:
    """``variant``: the adapter and the mask of experts under which they were computed; no other may use them."""

    variant: tuple[str | None, str | None]
    past: Past


class Sessions:
    """The last keys and values of every session that is alive, within a bound; the least recent make room.

    Args:
        most: tokens that are kept, all sessions together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: WeakKeyDictionary[Session, _Kept] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, request: GenerateRequest) -> Past | None:
        """What is kept of the request's session; it is handed over, not kept any longer."""
        kept = None if request.session is None else self._kept.pop(request.session, None)
        return kept.past if kept is not None and kept.variant == _variant(request) else None

    def keep(self, request: GenerateRequest, past: Past) -> None:
        """Keeps the keys and values of a request that will be continued."""
        if request.session is None or len(past.tokens) > self._most:
            return
        self._kept.pop(request.session, None)
        self._kept[request.session] = _Kept(_variant(request), past)
        sessions = list(self._kept.items())
        tokens = sum(len(kept.past.tokens) for _, kept in sessions)
        for session, kept in sessions:
            if tokens <= self._most:
                return
            tokens -= len(kept.past.tokens)
            self._kept.pop(session, None)

    def clear(self) -> None:
        """Forgets everything: the model computes something else from now on."""
        self._kept.clear()


def _variant(request: GenerateRequest) -> tuple[str | None, str | None]:
    return request.adapter, request.expert_mask
