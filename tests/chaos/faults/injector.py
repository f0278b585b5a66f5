"""Injects faults into a world, in a seeded order, until it is told to stop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from tests.chaos.faults.fault import Fault, FaultKind
from tests.chaos.faults.kinds import KINDS
from tests.support.system import PodProcess

if TYPE_CHECKING:
    from tests.chaos.world import World


class Faults:
    """What every kind of fault uses, and the order in which they come.

    Attributes:
        chance: the only source of randomness.
        history: the faults that happened, in order.
        left_out: (kind, why) that this machine cannot have.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.stage = world.stage
        self.chance = random.Random(f"faults/{world.settings.seed}")
        self.history: list[Fault] = []
        wanted = [KINDS[name] for name in world.settings.faults]
        self.left_out = [(kind.name, why) for kind in wanted if (why := kind.missing()) is not None]
        self._kinds = [kind for kind in wanted if kind.missing() is None]
        self._background: list[asyncio.Task[Any]] = []

    async def run(self, seconds: float) -> None:
        """Injects faults for so long, then returns when the last one is over."""
        settings, end = self.world.settings, time.monotonic() + seconds
        deck: list[FaultKind] = []
        while self._kinds and time.monotonic() < end:
            if not deck:  # each kind once a round, so that a short run has them all
                deck = list(self._kinds)
                self.chance.shuffle(deck)
            begun = time.monotonic()
            kind = deck.pop()
            await kind.inject(self)
            pause = settings.fault_every_s * self.chance.uniform(0.6, 1.4) - (time.monotonic() - begun)
            await asyncio.sleep(kind.rest_s if kind.rest_s is not None else max(0.1, pause))
        for task in self._background:
            await task

    def note(self, kind: str, victim: str, detail: str = "", lanes: list[tuple[int, int]] | None = None) -> Fault:
        """Writes a fault down as it begins."""
        fault = Fault(kind, time.time(), victim, detail, lanes or [])
        self.history.append(fault)
        return fault

    def spawn(self, job: Coroutine[Any, Any, Any]) -> None:
        """What goes on beside the faults that follow."""
        self._background.append(asyncio.ensure_future(job))

    async def pod(self, at_least: int = 2) -> PodProcess:
        """A running pod; waits while fewer than `at_least` run, since somebody must be left to take over.

        Where pods ended by themselves, nobody else starts others.
        """
        while len(running := self.world.running()) < at_least:
            if len(self.world.pods) < at_least:
                await self.world.start_pod()
            await asyncio.sleep(0.05)
        return self.chance.choice(running)

    def database(self) -> str:
        """The name of a Postgres server."""
        names = list(self.stage.databases)
        return self.chance.choice(names) if len(names) > 1 else names[0]

    async def lanes_of(self, pod: PodProcess) -> list[tuple[int, int]]:
        """(lane, epoch) of a pod, by the log."""
        return await asyncio.to_thread(self.world.owned_lanes, pod)
