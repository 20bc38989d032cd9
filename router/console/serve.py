"""``tokengraph serve``."""

from __future__ import annotations

from router.console.terminal import note
from router.gateway.logs import log_to_stderr
from router.gateway.server import ServeOptions
from router.gateway.server import serve as run


def serve(options: ServeOptions) -> None:
    """Serves a graph until it is stopped."""
    log_to_stderr()
    run(options, lambda url, model: note(f"{url} answers as {model}"))
