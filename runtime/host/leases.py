"""Membership and ownership of lanes: heartbeats, taking, handing over.

Each pod looks at the same two tables and computes the same assignment, so nobody leads. What makes it safe is not the
lease but the epoch: a commit of a pod that has lost a lane fences itself out, however late it comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from runtime.clock import LogTime
from runtime.host.balance import assign
from runtime.host.lane import Lane
from runtime.host.ports import LivePod, LogUnavailable, Ownership, Taken
from runtime.host.tasks import Tasks

_log = logging.getLogger("troupe.leases")

LEAVING_LOOK_S = 0.05
MOMENT_S = 0.1
"""What is begun because a lease goes on has so long until it may be over."""

SILENT_AFTER_BEATS = 3
"""Heartbeats that a pod may miss before others stand in for what it is to take."""


class Leases:
    """One pod's membership.

    Args:
        took: called with the lanes taken over.
        lost: called with a lane that another pod owns now.
        replaced: called when the log may have gone back in time; gives up every lane.
        drain: called with a lane that is about to be released; returns when nothing of it is in hand.
        released: called after lanes were given back, with the group whose pods are to know that they are free.
        tasks: where hand-overs run.
    """

    def __init__(
        self,
        ownership: Ownership,
        pod: str,
        group: str,
        clock: LogTime,
        *,
        ttl_s: float,
        heartbeat_s: float,
        balance_s: float,
        took: Callable[[Sequence[Taken]], None],
        lost: Callable[[Lane], None],
        replaced: Callable[[], Awaitable[None]],
        drain: Callable[[Lane], Awaitable[None]],
        released: Callable[[str], None],
        tasks: Tasks,
    ) -> None:
        self._ownership = ownership
        self._pod = pod
        self._group = group
        self._clock = clock
        self._ttl_s = ttl_s
        self._heartbeat_s = heartbeat_s
        self._balance_s = balance_s
        self._took = took
        self._lost = lost
        self._replaced = replaced
        self._drain = drain
        self._released = released
        self._tasks = tasks
        self._incarnation: str | None = None
        self._leaving = False
        self._look = asyncio.Event()
        self._giving: dict[int, asyncio.Task[None]] = {}
        self.lanes: dict[int, Lane] = {}
        self.standby: dict[int, int] = {}
        """Lanes (with their epochs) that this pod owns and does nothing with until its group is promoted."""
        self.until = 0.0
        """Until when (monotonic) nobody else can have taken this pod's lanes."""
        self._renewed = 0.0
        """Until when the lease goes that began after another one was over."""

    def valid(self) -> bool:
        """Whether reads may be answered: no other pod can own these lanes yet."""
        return self._clock.monotonic() < self.until

    def certain(self) -> bool:
        """Whether nobody else can own these lanes yet, nor for a moment. From any thread.

        To be asked before Lane.alive: a lease that was over is renewed only after what was lost is marked so.
        """
        until = self.until - MOMENT_S
        return self._clock.monotonic() < until

    def end(self) -> None:
        """The membership is about to be taken back: from now on nothing is certain."""
        self.until = self._renewed = 0.0

    def look_now(self) -> None:
        """Looks at the lanes at once instead of at the next interval."""
        self._look.set()

    async def beat(self) -> None:
        """Renews the membership, for ever."""
        while True:
            # The lease is counted from before the question: the answer may have taken any time.
            asked = self._clock.monotonic()
            try:
                log_now = await self._ownership.heartbeat(self._ttl_s)
                self._clock.heard(log_now, asked, self._clock.monotonic())
                self._renew(asked + self._ttl_s)
            except LogUnavailable as error:
                _log.warning("%s", error)
            await asyncio.sleep(max(0.0, self._heartbeat_s - (self._clock.monotonic() - asked)))

    def _renew(self, until: float) -> None:
        """Goes on with a lease that never ended; one that begins anew waits for `_confirm`."""
        if self._clock.monotonic() < self.until:
            self.until = until
        else:
            # Others may have taken lanes before this heartbeat, and committed to actors that are still in memory here.
            self._renewed = until
            self.look_now()

    async def _confirm(self) -> None:
        """After a lease that was over: reads go on once it is certain which lanes nobody has taken meanwhile."""
        if self.valid():
            return
        renewed = self._renewed
        own = await self._ownership.confirm()
        for number, lane in list(self.lanes.items()):
            if own.get(number) != lane.epoch:
                self._lost(lane)
        for number, epoch in list(self.standby.items()):
            if own.get(number) != epoch:
                del self.standby[number]
        self.until = max(self.until, renewed)

    async def balance(self) -> None:
        """Takes and hands over lanes, until everything is released after `leave`."""
        while not (self._leaving and not self.lanes and not self.standby and not self._giving):
            self._look.clear()
            try:
                await self._step()
            except LogUnavailable as error:
                _log.warning("lanes stay as they are: %s", error)
            try:
                async with asyncio.timeout(LEAVING_LOOK_S if self._leaving else self._balance_s):
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

    async def note_log(self) -> None:
        """Which log it is, before the pod registers: an older copy that is put in its place later may not know it."""
        self._incarnation = await self._ownership.incarnation()

    async def _notice_replacement(self) -> None:
        """A restored copy may hold this pod's very epochs, so no fence tells: nobody writes as long as nobody asks."""
        found = await self._ownership.incarnation()
        if self._incarnation not in (None, found):
            self.standby.clear()
            await self._replaced()
        self._incarnation = found

    async def _step(self) -> None:
        await self._notice_replacement()
        await self._confirm()
        live = await self._ownership.live_pods()
        owners, moved = await self._ownership.owners()
        self._forget_lost(owners)
        if moved:
            for group in await self._ownership.yield_moved():
                self._released(group)
        if self._leaving:
            await self._release_standby(self.standby)
            self._give(list(self.lanes.values()))
            return
        alive = [pod.id for pod in live]
        if self._pod not in alive:
            return  # this pod's own heartbeat has not arrived: it may not take anything
        mine = self._mine(sorted(owners), live)
        ownerless = (None, self._pod, *_gone(owners, alive))
        free = [number for number in mine - self._held() if owners[number][0] in ownerless]
        if free:
            self._keep(await self._ownership.take(sorted(free)))
        self._give([lane for number, lane in self.lanes.items() if number not in mine])
        await self._release_standby(self.standby.keys() - mine)
        # Lanes that are this pod's by the log, and in nobody's hands: the connection broke between giving them up and
        # releasing them. While this pod lives, nobody else can take them.
        strays = [
            (number, epoch)
            for number, (owner, epoch) in owners.items()
            if owner == self._pod and number not in mine and number not in self._held() and number not in self._giving
        ]
        if strays:
            await self._ownership.release(strays)
            self._released(self._group)

    def _held(self) -> set[int]:
        return {*self.lanes, *self.standby}

    def _forget_lost(self, owners: Mapping[int, tuple[str | None, int]]) -> None:
        """Gives up at once what is another's by the log."""
        for number, lane in list(self.lanes.items()):
            if owners.get(number) != (self._pod, lane.epoch):
                self._lost(lane)
        for number, epoch in list(self.standby.items()):
            if owners.get(number) != (self._pod, epoch):
                del self.standby[number]

    def _keep(self, taken: Sequence[Taken]) -> None:
        self.standby.update({one.lane: one.epoch for one in taken if one.standby})
        working = [one for one in taken if not one.standby]
        if working:
            _log.info("took %d lanes", len(working))
            self._took(working)

    async def _release_standby(self, numbers: Iterable[int]) -> None:
        released = [(number, self.standby.pop(number)) for number in list(numbers)]
        if released:
            await self._ownership.release(released)
            self._released(self._group)

    def _mine(self, lanes: Sequence[int], live: Sequence[LivePod]) -> set[int]:
        """The lanes this pod is to own.

        A pod whose heartbeats have stopped keeps its lanes until its lease is over, but it would not come for others:
        what is to be its goes to a stand-in meanwhile, who keeps it until the pod is back.
        """
        staying = [pod.id for pod in live if not pod.leaving]
        silent = {pod.id for pod in live if pod.silent_s > SILENT_AFTER_BEATS * self._heartbeat_s} - {self._pod}
        wanted = assign(lanes, staying)
        stand_in = assign(lanes, [pod for pod in staying if pod not in silent]) if silent else wanted
        owners = {number: stand_in[number] if wanted[number] in silent else wanted[number] for number in lanes}
        return {number for number, owner in owners.items() if owner == self._pod}

    def _give(self, lanes: Sequence[Lane]) -> None:
        """Hands lanes over, each as soon as nothing of it is in hand, while others are taken."""
        for lane in lanes:
            if lane.lane not in self._giving:
                job = self._hand_over(lane)
                self._giving[lane.lane] = self._tasks.start(job, f"handing over lane {lane.lane}")

    async def _hand_over(self, lane: Lane) -> None:
        began = self._clock.monotonic()
        try:
            await self._drain(lane)
            drained_s = self._clock.monotonic() - began
            if lane.alive:
                self._lost(lane)
                await self._ownership.release([(lane.lane, lane.epoch)])
                self._released(self._group)
                _log.info("lane %d is handed over: what was in hand took %.2f s", lane.lane, drained_s)
        except LogUnavailable as error:
            _log.warning("lane %d is not released yet: %s", lane.lane, error)
        finally:
            del self._giving[lane.lane]
            self.look_now()


def _gone(owners: Mapping[int, tuple[str | None, int]], alive: Sequence[str]) -> set[str]:
    return {owner for owner, _ in owners.values() if owner is not None and owner not in alive}
