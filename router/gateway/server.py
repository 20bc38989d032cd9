"""The server process: uvicorn, with the gateway's life around it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.applications import Starlette

from router.errors import GraphError
from router.gateway.app import create_app
from router.gateway.gateway import Gateway, Settings
from router.gateway.keys import Keys
from router.gateway.logs import log
from router.gateway.reload import Reloader, Version, read_version
from router.gateway.spending import Spending
from router.gateway.spending_file import SpendingFile
from router.gateway.telemetry import Telemetry, telemetry_at


@dataclass(frozen=True)
class ServeOptions:
    """What ``tokengraph serve`` is told.

    Attributes:
        keys: file of API keys, besides those of the spec.
        open: serve others than this machine without keys.
        otlp: URL of an OpenTelemetry collector.
        drain: seconds that requests under way get when the server is stopped.
        checkpoints: file of the runs in which a tool waits for the user's yes; without it they end with the server.
        spending: file of what keys have used; without it they begin anew with the server.
    """

    spec: Path
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    open: bool = False
    otlp: str | None = None
    drain: int = 30
    settings: Settings = field(default_factory=Settings)
    checkpoints: Path | None = None
    spending: Path | None = None


def make_app(options: ServeOptions) -> tuple[Starlette, Gateway]:
    """The application of a spec, which watches its files while it lives.

    Raises:
        SpecError, DataError: the spec, the keys or the file of what they have used are wrong.
        GraphError: it would serve everybody without keys, and was not told to.
    """

    folder = TemporaryDirectory(prefix="tokengraph-", ignore_cleanup_errors=True)
    checkpoints = options.checkpoints or Path(folder.name) / "checkpoints.sqlite"

    def read() -> Version:
        version = read_version(options.spec, options.keys, checkpoints=checkpoints)
        if not version.keys and not options.open and not _local(options.host):  # also when keys were taken out
            raise GraphError(
                f"expected API keys for a server that others can reach at {options.host}, found none. Give --keys FILE "
                "or gateway.keys in the spec, or --open if everybody may ask"
            )
        return version

    version = read()
    spending = Spending(None if options.spending is None else SpendingFile(options.spending))
    keys = Keys(version.keys, os.environ, spending)
    telemetry = Telemetry() if options.otlp is None else telemetry_at(options.otlp)
    gateway = Gateway(version.deployment, keys, options.settings, telemetry)
    reloader = Reloader(gateway, version, read)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with spending.kept():  # around all: the last requests are counted while the graph is closed
            watching = asyncio.create_task(reloader.watch())
            try:
                yield
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
                await reloader.close()
                await gateway.deployment.retire()
                folder.cleanup()

    return create_app(gateway, lifespan), gateway


def serve(options: ServeOptions, started: Callable[[str, str], None] = lambda *_: None) -> None:
    """Serves until SIGINT or SIGTERM; requests under way are answered first.

    Args:
        started: told the base URL and the graph's model name once the port is open.

    Raises:
        SpecError, DataError, GraphError: as ``make_app``; also if the port cannot be had.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                port = self.servers[0].sockets[0].getsockname()[1]
                host = f"[{options.host}]" if ":" in options.host else options.host
                started(f"http://{host}:{port}/v1", gateway.deployment.spec.name)

    with _listening(options.host, options.port) as port:
        app, gateway = make_app(options)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=options.drain,
            timeout_keep_alive=75, server_header=False, date_header=False,
        )  # fmt: skip
        log.info("serves", extra={"fields": {"model": gateway.deployment.spec.name, "keys": bool(gateway.keys)}})
        Server(config).run([port])


def _listening(host: str, port: int) -> socket.socket:
    """A socket for clients. uvicorn would open one only after all else, and end the process if it cannot."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise GraphError(
            f"expected a free port to listen on at {host}:{port}, found: {error.strerror}. Give another --port (0 takes a "
            "free one) or --host, or stop what listens there"
        ) from error


def _local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
