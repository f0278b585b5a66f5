"""A pod in whose time a test moves: it stands still until it is told to move, and what is due by then happens.

Leases, heartbeats and time-outs of connections keep to the machine's clock. What a step's function does takes the time
that it takes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from runtime.client.connection import Connection
from runtime.clock import Clock, LogTime, ManualClock, system_clock
from runtime.host.assembly import Servers
from runtime.host.broker import Deliver
from runtime.host.journals import Handling
from runtime.host.parts import Parts
from runtime.host.places import only
from runtime.host.pod import Pod
from runtime.host.settings import PodSettings
from runtime.kind import Kind
from runtime.postgres.timers import PostgresTimers

LOOK_S = 0.002
"""How often it is looked whether everything has happened."""


class SkippingTime(LogTime):
    """The time of day by a ManualClock; the rest is the machine's."""

    __slots__ = ("_manual",)

    def __init__(self, manual: ManualClock) -> None:
        super().__init__(system_clock)
        self._manual = manual

    def now(self) -> float:
        return self._manual.now()

    def heard(self, log_now: float, asked: float, answered: float) -> None:
        """What the log takes for the time is not this clock's business."""


class Pauses:
    """Those that wait in the event loops of handlers, each until a time of the test's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._paused: dict[asyncio.Future[None], tuple[float, asyncio.AbstractEventLoop]] = {}

    async def pause(self, seconds: float) -> None:
        """Waits so many seconds."""
        due = self._clock.now() + seconds
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        paused: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._paused[paused] = due, loop
        try:
            if due <= self._clock.now():  # the clock has moved just now
                return
            await paused
        finally:
            with self._lock:
                del self._paused[paused]

    def wake(self) -> None:
        """Goes on with those whose time has come. From any thread."""
        with self._lock:
            due = [(paused, loop) for paused, (at, loop) in self._paused.items() if at <= self._clock.now()]
        for paused, loop in due:
            loop.call_soon_threadsafe(_let_go, paused)

    @property
    def next(self) -> float:
        """When the first of them is due (Unix seconds); inf when nobody waits."""
        with self._lock:
            return min((due for due, _ in self._paused.values()), default=inf)


def _let_go(paused: asyncio.Future[None]) -> None:
    if not paused.done():
        paused.set_result(None)


class SkippingServers(Servers):
    """Puts a pod together whose time skips, on real servers."""

    def __init__(
        self, settings: PodSettings, kinds: Mapping[str, Kind], manual: ManualClock,
        stubs: Mapping[str, Callable[..., Any]],
    ) -> None:  # fmt: skip
        super().__init__(settings, only(settings, kinds), kinds)
        self._manual = manual
        self._stubs = stubs
        self.rests, self.pauses = Pauses(manual), Pauses(manual)

    def parts(
        self, connection: Connection, pod: str, capabilities: Mapping[str, str], deliver: Deliver, clock: Clock
    ) -> Parts:
        parts = super().parts(connection, pod, capabilities, deliver, clock)
        parts.timers = PostgresTimers(
            self._settings.postgres_url, capabilities, lambda: self._manual.now() - time.time()
        )
        parts.handling = Handling(self.rests.pause, self.pauses.pause, self._stubs)
        self.timers = parts.timers
        self.stream = parts.stream
        return parts


class SkippingPod:
    """One pod in the current event loop, that owns the only partition, and whose time the test moves."""

    def __init__(
        self, settings: PodSettings, kinds: Mapping[str, Kind], manual: ManualClock,
        stubs: Mapping[str, Callable[..., Any]],
    ) -> None:  # fmt: skip
        self._manual = manual
        self._told = manual.now()
        self._assembly = SkippingServers(settings, kinds, manual, stubs)
        self.clock = SkippingTime(manual)
        self.pod = Pod(settings, kinds.values(), self.clock, assembly=self._assembly)

    async def start(self) -> None:
        """Returns once it owns its lane, and reads."""
        await self.pod.start()
        while not any(lane.feed.reading for lane in self.pod.lanes.values()):
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        """Ends it."""
        await self.pod.stop()

    async def skip(self, until: float) -> None:
        """Moves the clock to a time (Unix seconds), and lets what is due by then go on."""
        self._manual.advance(max(until - self._manual.now(), 0.0))
        passed, self._told = self._manual.now() - self._told, self._manual.now()  # the test may have moved it itself
        self._assembly.rests.wake()
        self._assembly.pauses.wake()
        self.pod.time_moved(passed)

    async def still(self) -> bool:
        """Whether nothing goes on but what waits for a time that has not come."""
        pod, assembly = self.pod, self._assembly
        batches = pod.meter.batches
        lanes = list(pod.lanes.values())
        if not lanes or any(lane.queued or lane.sending or lane.outbox or lane.backlog for lane in lanes):
            return False
        await pod.committer.settled()
        until = await pod.executions.loop.run(self._resting())
        if until is None or until <= self._manual.now() or assembly.pauses.next <= self._manual.now():
            return False
        if await self._due() or len(pod.committer):
            return False
        last = (await assembly.stream.state()).last_seq
        for lane in lanes:
            if not await pod.commands.caught_up(lane.feed, last):
                return False
        # The log may show what a batch has written before the pod knows of it: that one is still in hand.
        await pod.committer.settled()
        return pod.meter.batches == batches and not len(pod.committer) and not any(lane.queued for lane in lanes)

    async def next_due(self, *, timers: bool) -> float:
        """When the next thing is due of what waits (Unix seconds; inf for nothing), with or without actors' timers.

        To be asked when all is still.
        """
        lanes = [lane.lane for lane in self.pod.lanes.values()]
        resting = await self.pod.executions.loop.run(self._resting())
        timer = await self._assembly.timers.next_timer(lanes) if timers else None
        _, waiting = await self._assembly.timers.waiting(lanes, self._manual.now())
        return min(
            self._assembly.pauses.next, *[inf if due is None else due for due in (resting, timer, waiting)]
        )

    def running(self) -> list[str]:
        """What runs, for errors."""
        return self.pod.executions.running()

    async def _resting(self) -> float | None:
        return self.pod.executions.rest_until()

    async def _due(self) -> bool:
        """Whether the log holds something that is due and not done."""
        lanes = [lane.lane for lane in self.pod.lanes.values()]
        paused = {actor for lane in self.pod.lanes.values() for actor in lane.paused}
        rows, _ = await self._assembly.timers.waiting(lanes, self._manual.now())
        if any(row.actor not in paused for row in rows):
            return True
        return bool(await self._assembly.timers.due_timers(lanes, self._manual.now(), 1))
