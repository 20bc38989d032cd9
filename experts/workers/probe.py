"""Asks a vLLM server how it is."""

from __future__ import annotations

import re
from types import TracebackType

import httpx

_SECONDS = 10.0
_MOVING_SECONDS = 300.0  # for requests to finish and for the weights of a large model to move
_FINISHED = re.compile(r"^vllm:request_success_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Probe:
    """A client of the routes of one server that are not about models; an asynchronous context manager.

    Args:
        url: the server's base URL, with or without ``/v1``.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=re.sub(r"/v1/?$", "", url), timeout=httpx.Timeout(_SECONDS), trust_env=False
        )

    async def __aenter__(self) -> Probe:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def healthy(self) -> bool:
        """Whether it answers and says that it is well."""
        try:
            return (await self._client.get("/health")).is_success
        except (httpx.HTTPError, httpx.InvalidURL):
            return False

    async def activity(self) -> tuple[int, float]:
        """Requests in the server now, and requests finished since its start. Raises httpx.HTTPError."""
        load = (await self._client.get("/load")).raise_for_status().json()["server_load"]
        metrics = (await self._client.get("/metrics")).raise_for_status().text
        return int(load), sum(map(float, _FINISHED.findall(metrics)))

    async def sleep(self) -> None:
        """Has it finish what it does and give back its GPU memory. Raises httpx.HTTPError."""
        # Mode wait: requests that come meanwhile are queued, not refused, until it is woken.
        query: dict[str, str | int] = {"level": 1, "mode": "wait"}
        (await self._client.post("/sleep", params=query, timeout=_MOVING_SECONDS)).raise_for_status()

    async def wake_up(self) -> None:
        """Has it take its GPU memory again and go on with queued requests. Raises httpx.HTTPError."""
        (await self._client.post("/wake_up", timeout=_MOVING_SECONDS)).raise_for_status()
