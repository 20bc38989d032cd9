"""Tools for the tests, kind and unkind ones; imported by the processes in which they run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from router.tools.function import tool
from router.tools.signature import Setting


class Place(BaseModel):
    town: str
    floor: int = 0


@tool
def multiply(a: Decimal, b: Decimal = Decimal(2)) -> Decimal:
    """Multiplies two
    numbers.

    More that no model needs to read.
    """
    return a * b


@tool(name="where", seconds=30, max_output=100, side_effects=True)
def move(who: Annotated[str, Field(max_length=5)], to: Place, how: Literal["walk", "fly"] = "walk") -> Place:
    """Moves somebody."""
    return Place(town=to.town.upper(), floor=to.floor)


@tool
def note(text: str, *, file: Annotated[Path, Setting()]) -> str:
    """Writes a note."""
    return f"{file.name}: {text}"


@tool
def process_id() -> int:
    """Says in which process it runs."""
    return os.getpid()


@tool
async def tomorrow(day: date) -> date:
    """Gives the next day."""
    await asyncio.sleep(0)
    return date.fromordinal(day.toordinal() + 1)


@tool(seconds=1)
def endless() -> None:
    """Never ends, and cannot be asked to."""
    while True:
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001
            continue


@tool(seconds=1)
def endless_in_c() -> int:
    """Spends for ever in one call of C code."""
    return sum(iter(int, 1))


@tool(seconds=1)
def parent_of_endless(pid_file: str) -> None:
    """Starts a program that never ends, and waits for it."""
    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(1)"])
    Path(pid_file).write_text(str(child.pid))
    child.wait()


@tool(seconds=30)
def flood(characters: int) -> str:
    """Gives too much."""
    return "é" * characters


@tool(seconds=30)
def hungry() -> int:
    """Takes all memory there is."""
    held = []
    while True:
        held.append(bytearray(2**28))


@tool(seconds=30)
def ends_its_process(code: int) -> None:
    """Ends the process in the middle of a call."""
    os._exit(code)


@tool(seconds=30)
def raises(text: str) -> None:
    """Raises something that is no ToolError."""
    raise KeyError(text)


@tool(seconds=30)
def talkative() -> str:
    """Prints, and reads what it should not."""
    print("{}" * 5_000, flush=True)
    os.write(1, b"\0\0\0\1x")
    return f"read {sys.stdin.read()!r}, half a character \ud83d"


@tool(seconds=30)
def calls_a_tool() -> str:
    """Tries to start processes for tools from inside one."""
    from router.tools.processes import ToolProcesses

    return str(asyncio.run(ToolProcesses().run(process_id, {})))


def plain(a: int) -> int:
    """Adds one."""
    return a + 1


not_a_function = 3
