"""Hot reload: a new version of the spec takes over when it is valid; requests under way end on the old one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router.errors import TokengraphError
from router.gateway.deployment import Deployment
from router.gateway.gateway import Gateway
from router.gateway.keys import read_keys
from router.gateway.logs import log
from router.runtime.masks import mask_files
from router.runtime.router import Router
from router.spec.gateway import ApiKey
from router.spec.load import load_spec_and_files

_SECONDS = 0.5

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Version:
    """What the files said at one moment.

    Attributes:
        stamp: the state of the files right before they were read: a change while they are read is seen later.
    """

    deployment: Deployment
    keys: tuple[ApiKey, ...]
    files: tuple[Path, ...]
    stamp: Stamp


def read_version(
    spec: Path, keys: Path | None, environ: Mapping[str, str] = os.environ, checkpoints: Path | None = None
) -> Version:
    """The spec and the keys as they are in the files now; models load with the first request.

    Args:
        checkpoints: file of the runs that wait for a yes.

    Raises:
        SpecError, DataError, GraphError: what is wrong with them.
    """
    files: tuple[Path, ...] = ()
    while True:  # which files there are is only known once they are read
        stamp = _stamp(files)
        graph, included = load_spec_and_files(spec, environ=environ)
        more = () if keys is None else read_keys(keys)
        known, files = files, (*included, *mask_files(graph), *([keys] if keys else []))
        if files == known:
            return Version(
                Deployment(Router(graph, checkpoints=checkpoints)).prepare(), (*graph.gateway.keys, *more), files, stamp
            )


class Reloader:
    """Watches the files of a spec and puts new versions of it into a gateway."""

    def __init__(self, gateway: Gateway, version: Version, read: Callable[[], Version]) -> None:
        self._gateway, self._read = gateway, read
        self._files, self._seen = version.files, version.stamp
        self._retiring: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Looks at the files twice a second, until it is cancelled. By their state, not by events: those get lost."""
        while True:
            await asyncio.sleep(_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Takes over a new version if there is one; an invalid one is reported, and the old one stays."""
        gateway = self._gateway
        now = await asyncio.to_thread(_stamp, self._files)
        if now == self._seen and gateway.problem is None:  # what is wrong may be in a file that is not known yet
            return
        self._seen = now
        try:
            version = await asyncio.to_thread(self._read)
            gateway.keys.replace(version.keys, os.environ)
        except TokengraphError as error:
            if gateway.problem != str(error):
                gateway.problem = str(error)
                gateway.metrics.reloads.labels("invalid").inc()
                log.error(
                    "the new spec is invalid; the old one is served on", extra={"fields": {"problem": str(error)}}
                )
            return
        old, gateway.deployment, gateway.problem = gateway.deployment, version.deployment, None
        self._files, self._seen = version.files, version.stamp
        gateway.metrics.reloads.labels("served").inc()
        log.info("serves a new version of the spec", extra={"fields": {"model": version.deployment.spec.name}})
        retiring = asyncio.create_task(old.retire())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Waits until the old versions are closed."""
        await asyncio.gather(*self._retiring)


def _stamp(files: Sequence[Path]) -> Stamp:
    """What tells one state of the files from another; a missing file is a state, too."""
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            found.append((str(file), 0, 0, 0))
        else:
            found.append((str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)
