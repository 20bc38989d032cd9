"""Messages between a tool's process and the process that it serves: a length in four bytes, then JSON."""

from __future__ import annotations

import json
import struct
from asyncio import StreamReader
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">I")
_LONGEST = 64 * 2**20


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes."""
    body = json.dumps(message).encode()
    return _LENGTH.pack(len(body)) + body


async def receive(stream: StreamReader) -> dict[str, Any]:
    """The next message.

    Raises:
        asyncio.IncompleteReadError: the other side has gone, or what it wrote is no message.
    """
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    body = await stream.readexactly(min(length, _LONGEST))
    message: dict[str, Any] = json.loads(body)
    return message


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message, waiting for it; None if the other side has gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    message: dict[str, Any] = json.loads(stream.read(_LENGTH.unpack(head)[0]))
    return message
