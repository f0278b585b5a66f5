"""Pending commands that go on much later are not kept in memory: they are read from the log when their time is near.

So a run that sleeps for a day costs its pod no alarm. What is near has one (runtime.host.alarms).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from runtime.clock import Clock
from runtime.host.items import Next, Rerun
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable, PendingRow
from runtime.host.reading import TimerSource
from schemas.control import METHODS

_log = logging.getLogger("troupe.sleepers")

NEAR_S = 60.0
"""What goes on within so many seconds has an alarm."""

AHEAD_S = 30.0
"""The rows of what comes nearer are read so long before the first of them is due."""

RETRY_S = 0.5


def may_be_read(item: object) -> bool:
    """Whether an item can be made again of its row."""
    return type(item) is Next or (type(item) is Rerun and item.row.method not in METHODS)


class Sleepers:
    """Those of a pod's lanes."""

    def __init__(self, source: TimerSource, lanes: Callable[[], Sequence[Lane]], clock: Clock) -> None:
        self._source = source
        self._lanes = lanes
        self._clock = clock
        self._wake = asyncio.Event()
        self._due: float | None = None

    def later(self, delay_s: float) -> None:
        """Something that has no alarm is due after so many seconds; its row is committed."""
        self._note(self._clock.now() + delay_s)

    def look(self) -> None:
        """Counts anew how long there is to wait: the log's clock has moved."""
        self._wake.set()

    def _note(self, due: float) -> None:
        if self._due is None or due < self._due:
            self._due = due
            self._wake.set()

    async def run(self, near: Callable[[float, Next | Rerun], None]) -> None:
        """Reads what comes nearer, for ever. `near` sets an alarm: (seconds, item)."""
        while True:
            self._wake.clear()
            wait_s = None if self._due is None else max(self._due - AHEAD_S - self._clock.now(), 0.0)
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                await self._read(near)

    async def _read(self, near: Callable[[float, Next | Rerun], None]) -> None:
        """Sets the alarms of what is near by now, and notes when the next one is due."""
        before, self._due = self._due, None
        lanes = {lane.lane: lane for lane in self._lanes() if lane.alive}
        try:
            rows, behind = await self._source.waiting(list(lanes), self._clock.now() + NEAR_S)
        except LogUnavailable as error:
            _log.warning("what is to go on soon cannot be read yet: %s", error)
            await asyncio.sleep(RETRY_S)
            if before is not None:
                self._note(before)
            return
        if behind is not None:
            self._note(behind)
        now = self._clock.now()
        for row in rows:
            assert row.due_at is not None
            # A lane that was lost while the rows were read is another object now, if it is this pod's again.
            if lanes[row.lane].alive:
                near(row.due_at - now, _item(lanes[row.lane], row))


def _item(lane: Lane, row: PendingRow) -> Next | Rerun:
    return Next(lane, row.actor, row.kind) if row.holds else Rerun(lane, row)
