"""What one API key may use: requests and tokens a minute, and tokens in all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from router.gateway.errors import Refused, retry_after
from router.gateway.spending import Spending
from router.spec.gateway import ApiKey

_MINUTE = 60.0


class Bucket:
    """Refills evenly, a full one within a minute. What is taken may be more than what is there; then it is in debt."""

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        self.capacity = capacity
        self._clock, self._level, self._at = clock, float(capacity), clock()

    @property
    def level(self) -> float:
        """What is there now."""
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._at) * self.capacity / _MINUTE)
        self._at = now
        return self._level

    def hold(self, capacity: int) -> None:
        """Another capacity from now on. What was taken stays taken, but what was within the old one makes no debt."""
        level = self.level
        self._level = max(min(0.0, level), level + capacity - self.capacity)
        self.capacity = capacity

    def take(self, amount: float) -> None:
        """Takes out, below zero if need be."""
        self._level = self.level - amount

    def seconds_until(self, amount: float) -> float:
        """How long until so much is there."""
        return max(0.0, amount - self.level) * _MINUTE / self.capacity


class Account:
    """A key's use; what it used in all is counted in ``spending``."""

    def __init__(self, key: ApiKey, spending: Spending, clock: Callable[[], float] = time.monotonic) -> None:
        self._spending, self._clock = spending, clock
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self.limit(key)

    @property
    def name(self) -> str:
        """How logs and metrics call it."""
        return self._key.name

    def limit(self, key: ApiKey) -> None:
        """The key as it is now: what was used stays used, also by requests that are under way, and its bounds hold."""
        self._key = key
        self._requests = self._bucket(self._requests, key.requests_per_minute)
        self._tokens = self._bucket(self._tokens, key.tokens_per_minute)

    def admit(self) -> None:
        """Counts a request.

        Raises:
            Refused: a limit is reached (try again later) or the budget is used up (do not).
        """
        budget = self._key.budget
        if budget is not None and (used := self._spending.of(self.name)) >= budget:
            raise Refused(
                f"expected at most {budget} tokens with the key {self.name}, found {used} used. Raise its budget",
                status=429, code="insufficient_quota", headers={"x-should-retry": "false"},
            )  # fmt: skip
        for what, bucket, needed in (("requests", self._requests, 1.0), ("tokens", self._tokens, 1.0)):
            if bucket is not None and (wait := bucket.seconds_until(needed)) > 0:
                raise Refused(
                    f"expected at most {bucket.capacity} {what} per minute with the key {self.name}, found more. "
                    f"Try again in {wait:.1f} s", status=429, code="rate_limit_exceeded",
                    headers={**retry_after(wait), **self.headers()},
                )  # fmt: skip
        if self._requests is not None:
            self._requests.take(1)

    def charge(self, tokens: int) -> None:
        """Counts what a request took."""
        self._spending.add(self.name, tokens)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def headers(self) -> Mapping[str, str]:
        """What is left, as OpenAI says it."""
        found: dict[str, str] = {}
        for what, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                found[f"x-ratelimit-limit-{what}"] = str(bucket.capacity)
                found[f"x-ratelimit-remaining-{what}"] = str(max(0, int(bucket.level)))
        return found

    def _bucket(self, bucket: Bucket | None, capacity: int | None) -> Bucket | None:
        if bucket is None or capacity is None:
            return None if capacity is None else Bucket(capacity, self._clock)
        bucket.hold(capacity)
        return bucket
