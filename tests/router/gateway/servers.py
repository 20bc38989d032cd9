"""Real servers on real sockets, in a thread of the test's process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import openai
import uvicorn
from starlette.applications import Starlette

from router import GraphSpec, Router
from router.gateway.app import create_app
from router.gateway.deployment import Deployment
from router.gateway.gateway import Gateway, Settings
from router.gateway.keys import Keys


@dataclass
class Running:
    url: str
    gateway: Gateway

    def client(self, key: str = "none", **more: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, **more)

    def async_client(self, key: str = "none", **more: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, **more)


@contextmanager
def listening(app: Starlette) -> Iterator[str]:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5, lifespan="on")
        )
        ready = threading.Event()
        startup = server.startup

        async def started(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets)
            ready.set()

        server.startup = started  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
        thread.start()
        assert ready.wait(30)
        try:
            yield f"http://127.0.0.1:{port.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def serving(
    graph: Router | GraphSpec, *, environ: dict[str, str] | None = None, settings: Settings | None = None, **more: Any
) -> Iterator[Running]:
    router = graph if isinstance(graph, Router) else Router(graph)
    gateway = Gateway(Deployment(router), Keys(router.spec.gateway.keys, environ or {}), settings or Settings(), **more)
    with listening(create_app(gateway)) as url:
        yield Running(url, gateway)
