"""A pod's own archiving: from time to time, of its own lanes, what its kinds' retention lets go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from runtime.errors import NotConnected
from runtime.host.archiver import Archiver
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable
from runtime.kind import Kind

_log = logging.getLogger("troupe.archive")


class Retaining:
    """Archives the old events of a pod's lanes. `lanes` gives those it works on."""

    def __init__(
        self, archiver: Archiver | None, kinds: Mapping[str, Kind], lanes: Callable[[], list[Lane]], every_s: float
    ) -> None:
        self._archiver = archiver
        self._kinds = [kind for kind in kinds.values() if kind.behaviour.retention and kind.behaviour.retention.archive]
        self._lanes = lanes
        self._every_s = every_s
        if archiver is None and self._kinds:
            names = ", ".join(sorted(kind.name for kind in self._kinds))
            _log.warning("nothing is archived of %s: set RUNTIME_ARCHIVE_URL to say where to", names)

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What the pod has to run for it: nothing, where nothing is to be archived."""
        return [] if self._archiver is None or not self._kinds else [self._run(self._archiver)]

    async def _run(self, archiver: Archiver) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._archive(archiver)

    async def _archive(self, archiver: Archiver) -> None:
        for kind in self._kinds:
            retention = kind.behaviour.retention
            lanes = [lane.lane for lane in self._lanes() if lane.alive]
            if retention is None or not lanes:
                continue
            try:
                done = await archiver.run(kind, lanes, retention)
            except (LogUnavailable, NotConnected) as error:
                _log.warning("archiving %s waits: %s", kind.name, error)
                continue
            if done.segments:
                _log.info("archived %d events of %s in %d segments", done.events, kind.name, done.segments)
