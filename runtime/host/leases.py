"""Membership and ownership of lanes: heartbeats, taking, handing over.

Each pod looks at the same two tables and computes the same assignment, so nobody leads. What makes it safe is not the
lease but the epoch: a commit of a pod that has lost a lane fences itself out, however late it comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from runtime.clock import Clock
from runtime.host.balance import assign
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable, Ownership, Taken

_log = logging.getLogger("troupe.leases")


class Leases:
    """One pod's membership.

    Args:
        took: called with the lanes taken over.
        lost: called with a lane that another pod owns now.
        drain: called with a lane that is about to be released; returns when nothing of it is in hand.
        released: called after lanes were given back, to tell the other pods that they are free.
    """

    def __init__(
        self,
        ownership: Ownership,
        pod: str,
        clock: Clock,
        *,
        ttl_s: float,
        heartbeat_s: float,
        balance_s: float,
        took: Callable[[Sequence[Taken]], None],
        lost: Callable[[Lane], None],
        drain: Callable[[Lane], Awaitable[None]],
        released: Callable[[], None],
    ) -> None:
        self._ownership = ownership
        self._pod = pod
        self._clock = clock
        self._ttl_s = ttl_s
        self._heartbeat_s = heartbeat_s
        self._balance_s = balance_s
        self._took = took
        self._lost = lost
        self._drain = drain
        self._released = released
        self._leaving = False
        self._look = asyncio.Event()
        self._all: list[int] = []
        self.lanes: dict[int, Lane] = {}
        self.until = 0.0
        """Until when (monotonic) nobody else can have taken this pod's lanes."""

    def valid(self) -> bool:
        """Whether reads may be answered: no other pod can own these lanes yet."""
        return self._clock.monotonic() < self.until

    def look_now(self) -> None:
        """Looks at the lanes at once instead of at the next interval."""
        self._look.set()

    async def beat(self) -> None:
        """Renews the membership, for ever."""
        while True:
            # The lease is counted from before the question: the answer may have taken any time.
            asked = self._clock.monotonic()
            try:
                await self._ownership.heartbeat(self._ttl_s)
                self.until = asked + self._ttl_s
            except LogUnavailable as error:
                _log.warning("%s", error)
            await asyncio.sleep(max(0.0, self._heartbeat_s - (self._clock.monotonic() - asked)))

    async def balance(self) -> None:
        """Takes and hands over lanes, until everything is released after `leave`."""
        while not (self._leaving and not self.lanes):
            try:
                await self._step()
            except LogUnavailable as error:
                _log.warning("lanes stay as they are: %s", error)
            if self._leaving and not self.lanes:
                break
            self._look.clear()
            try:
                async with asyncio.timeout(0.05 if self._leaving else self._balance_s):
                    await self._look.wait()
            except TimeoutError:
                pass

    async def leave(self) -> None:
        """Hands everything over: no new lanes, turns finished and committed, lanes released."""
        self._leaving = True
        try:
            await self._ownership.leave()
        except LogUnavailable as error:
            _log.warning("the pod leaves without saying so: %s", error)
        self.look_now()

    async def _step(self) -> None:
        live = await self._ownership.live_pods()
        owners = await self._ownership.owners()
        for number, lane in list(self.lanes.items()):
            if owners.get(number) != (self._pod, lane.epoch):
                self._lost(lane)
        alive = [pod for pod, _ in live]
        if self._pod not in alive and not self._leaving:
            return  # this pod's own heartbeat has not arrived: it may not take anything
        staying = [pod for pod, leaving in live if not leaving and not (self._leaving and pod == self._pod)]
        wanted = assign(sorted(owners), staying) if staying else {}
        give = [lane for number, lane in self.lanes.items() if self._leaving or wanted.get(number) != self._pod]
        if give:
            await asyncio.gather(*[self._drain(lane) for lane in give])
            held = [lane for lane in give if lane.alive]
            for lane in held:
                self._lost(lane)
            await self._ownership.release([(lane.lane, lane.epoch) for lane in held])
            self._released()
        if self._leaving:
            return
        await self._release_strays(owners, wanted, given={lane.lane for lane in give})
        ownerless = (None, self._pod, *_gone(owners, alive))
        free = [
            number
            for number, pod in wanted.items()
            if pod == self._pod and number not in self.lanes and owners[number][0] in ownerless
        ]
        if free:
            taken = await self._ownership.take(free)
            if taken:
                _log.info("took %d lanes", len(taken))
                self._took(taken)

    async def _release_strays(
        self, owners: dict[int, tuple[str | None, int]], wanted: dict[int, str], given: set[int]
    ) -> None:
        """Releases lanes that are this pod's by the log, in nobody's hands and another pod's by the assignment.

        The connection broke between giving them up and releasing them; while this pod lives, nobody else can take them.
        """
        strays = [
            (number, epoch)
            for number, (owner, epoch) in owners.items()
            if owner == self._pod and number not in self.lanes and number not in given and wanted.get(number) != owner
        ]
        if strays:
            await self._ownership.release(strays)
            self._released()


def _gone(owners: dict[int, tuple[str | None, int]], alive: Sequence[str]) -> set[str]:
    return {owner for owner, _ in owners.values() if owner is not None and owner not in alive}
