"""Firing timers: the owner of a lane sleeps until the next one is due, and puts what is due into the next batch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from runtime.clock import Clock
from runtime.host.command import Command, from_timer
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable
from runtime.host.reading import TimerSource

_log = logging.getLogger("troupe.timers")

BATCH = 500
RETRY_S = 0.5
FAR_S = 3600.0


class Timers:
    """The clock of a pod's lanes. `fire` puts a command into the next batch."""

    def __init__(
        self, source: TimerSource, lanes: Callable[[], Sequence[Lane]], fire: Callable[[Command], None], clock: Clock
    ) -> None:
        self._source = source
        self._lanes = lanes
        self._fire = fire
        self._clock = clock
        self._wake = asyncio.Event()
        self._due: float | None = None
        self._firing: dict[tuple[str, str, str], Lane] = {}
        self._read = True

    def due(self, at: float) -> None:
        """A timer was set that is due at this Unix time."""
        if self._due is None or at < self._due:
            self._due = at
            self._wake.set()

    def reread(self) -> None:
        """Lanes were taken: their timers are not known yet."""
        self._read = True
        self._wake.set()

    def done(self, command: Command) -> None:
        """A fired command was committed."""
        if command.timer is not None:
            self._firing.pop((*command.timer, command.id), None)

    def forget(self, lane: Lane) -> None:
        """A lane was lost: what was fired for it and not committed is fired by its next owner, who may be this pod."""
        self._firing = {place: owner for place, owner in self._firing.items() if owner is not lane}

    async def run(self) -> None:
        """Fires timers, for ever."""
        while True:
            try:
                await self._step()
            except LogUnavailable as error:
                _log.warning("timers wait: %s", error)
                await asyncio.sleep(RETRY_S)
                self._read = True

    async def _step(self) -> None:
        # Cleared before anything is looked at: what is set or taken while the rows are read is not in them.
        self._wake.clear()
        lanes = {lane.lane: lane for lane in self._lanes() if lane.alive and not lane.draining}
        if self._read:
            self._read = False
            self._due = None
            found = await self._source.next_timer(list(lanes)) if lanes else None
            if found is not None:
                self.due(found)
        wait = FAR_S if self._due is None else self._due - self._clock.now()
        if wait > 0:
            try:
                async with asyncio.timeout(min(wait, FAR_S)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            return
        rows = await self._source.due_timers(list(lanes), self._clock.now(), BATCH)
        fresh = 0
        for row in rows:
            place = (row.actor, row.name, row.fire_id)
            lane = lanes.get(row.lane)
            # A lane may have been lost while the rows were read; the pod may even own it anew, as another lane object.
            if lane is None or not lane.alive or self._firing.get(place) is lane:
                continue
            self._firing[place] = lane
            fresh += 1
            self._fire(from_timer(lane, row))
        self._read = True
        if not fresh:
            await asyncio.sleep(0.02)  # what is due is being committed: look again when that is done
