"""Tools with side effects for the tests; imported by the processes in which they run."""

from __future__ import annotations

import time
from pathlib import Path

from router.tools import tool


@tool(side_effects=True, seconds=60)
def send_mail(to: str, outbox: Path) -> str:
    """Sends a mail; waits as long as a file says that the post is closed."""
    with outbox.open("a") as file:
        file.write(f"{to}\n")
    while outbox.with_name("closed").exists():
        time.sleep(0.01)
    return f"sent to {to}"


@tool(seconds=0.5)
def endless() -> None:
    """Never ends."""
    while True:
        pass
