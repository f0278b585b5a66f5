"""Faults: real signals to real processes, in a seeded order."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.chaos.settings import OUTAGES
from tests.chaos.world import World
from tests.support.system import PodProcess

LEASE_TTL_S = 2.0
"""The pods' default. A frozen pod sleeps longer than that, so that it must be fenced when it wakes."""

OUTAGE_S = 60.0
REST_S = 20.0
"""After an outage, so that it is seen how everything resumes."""


@dataclasses.dataclass(slots=True)
class Fault:
    """One fault as it happened. `at` is Unix seconds; `lanes` are (lane, epoch) that lost their owner by it."""

    kind: str
    at: float
    victim: str
    detail: str = ""
    lanes: list[tuple[int, int]] = dataclasses.field(default_factory=list)


class Faults:
    """Injects faults into a world until it is told to stop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"faults/{world.settings.seed}")
        self._background: list[asyncio.Task[Any]] = []
        self.history: list[Fault] = []
        self._inject: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": self._stop,
            "term": self._term,
            "nats": self._nats,
            "postgres": self._postgres,
            "minute-nats": self._minute_without_nats,
            "minute-postgres": self._minute_without_postgres,
        }

    async def run(self, seconds: float) -> None:
        """Injects faults for so long, then returns when the last one is over."""
        settings, end = self._world.settings, time.monotonic() + seconds
        deck: list[str] = []
        while settings.faults and time.monotonic() < end:
            if not deck:  # each kind once a round, so that a short run has them all
                deck = list(settings.faults)
                self._chance.shuffle(deck)
            begun = time.monotonic()
            kind = deck.pop()
            await self._inject[kind]()
            pause = settings.fault_every_s * self._chance.uniform(0.6, 1.4) - (time.monotonic() - begun)
            await asyncio.sleep(REST_S if kind in OUTAGES else max(0.1, pause))
        for task in self._background:
            await task

    def _note(self, kind: str, victim: str, detail: str = "", lanes: list[tuple[int, int]] | None = None) -> Fault:
        fault = Fault(kind, time.time(), victim, detail, lanes or [])
        self.history.append(fault)
        return fault

    def _spawn(self, job: Coroutine[Any, Any, Any]) -> None:
        self._background.append(asyncio.ensure_future(job))

    async def _victim(self) -> PodProcess:
        """A running pod; waits while only one runs, since somebody must be left to take over."""
        while len(running := self._world.running()) < 2:
            await asyncio.sleep(0.05)
        return self._chance.choice(running)

    # -- the kinds ------------------------------------------------------------------------------------------------

    async def _kill(self) -> None:
        pod = await self._victim()
        lanes = await asyncio.to_thread(self._world.owned_lanes, pod)
        self._note("kill", pod.name, lanes=lanes)
        self._world.kill_pod(pod)
        self._spawn(self._start_later(self._chance.uniform(0.0, 1.0)))

    async def _stop(self) -> None:
        pod = await self._victim()
        lanes = await asyncio.to_thread(self._world.owned_lanes, pod)
        frozen_s = LEASE_TTL_S + self._chance.uniform(0.8, 2.0)
        self._note("stop", pod.name, f"for {frozen_s:.1f} s", lanes)
        pod.freeze()
        self._world.frozen.add(pod)
        self._spawn(self._wake_later(pod, frozen_s))

    async def _term(self) -> None:
        pod = await self._victim()
        lanes = await asyncio.to_thread(self._world.owned_lanes, pod)
        fault = self._note("term", pod.name, lanes=lanes)
        self._spawn(self._replace(pod, fault))

    async def _nats(self) -> None:
        down_s = self._chance.choice([0.05, 0.5, 1.5])
        self._note("nats", "nats-server", f"down for {down_s} s")
        await self._world.crash_nats(down_s)

    async def _postgres(self) -> None:
        down_s = self._chance.choice([0.0, 0.5, 1.5])
        self._note("postgres", "PostgreSQL", f"down for {down_s} s")
        await self._world.crash_postgres(down_s)

    async def _minute_without_nats(self) -> None:
        self._note("minute-nats", "nats-server", f"down for {OUTAGE_S:g} s")
        await self._world.crash_nats(OUTAGE_S)

    async def _minute_without_postgres(self) -> None:
        self._note("minute-postgres", "PostgreSQL", f"down for {OUTAGE_S:g} s")
        await self._world.crash_postgres(OUTAGE_S)

    async def _start_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._world.start_pod()

    async def _wake_later(self, pod: PodProcess, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        pod.wake()
        self._world.frozen.discard(pod)

    async def _replace(self, pod: PodProcess, fault: Fault) -> None:
        starting = asyncio.ensure_future(self._world.start_pod())
        code = await self._world.terminate_pod(pod)
        fault.detail = f"exit code {code}"
        if code != 0:
            self._world.died.append(f"pod {pod.name} ended with exit code {code} after SIGTERM, and not with 0")
        await starting
