"""The commit pipeline of a pod: batches of whatever has arrived, one after the other, each in one transaction.

    take ─► probe (careful lanes only) ─► begin: fence + look-ups ─► turns ─► write + commit ─► what follows

A batch is what arrived while the last one was committed; nothing lingers. An error leaves the outcome of a commit
unknown, and then nothing in memory is believed any more: every lane is given up and taken again, and the inbox sorts
out what had been done. Only a batch that the log refuses, for its content or its time, is split, down to the one item
at fault.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from runtime.clock import Clock
from runtime.host.command import Command
from runtime.host.identity import Identity
from runtime.host.items import Anchor, Expire, Item, Next, Order, Sent, Step, Touch, name_of
from runtime.host.lane import Activation, Activations, Lane
from runtime.host.lookups import Lookups, reads_nothing
from runtime.host.meter import Meter
from runtime.host.observer import Marks, Observer
from runtime.host.plan import Plan
from runtime.host.planner import Planner
from runtime.host.ports import CommitLog, Found, LogRefused, LogTimedOut, LogUnavailable, Wanted
from runtime.host.suspects import Suspects
from runtime.host.threads import TurnRunner
from runtime.host.trials import LOOK_AGAIN_S, Trials
from runtime.kind import Kind

_log = logging.getLogger("troupe.committer")

NOTHING_FOUND = Found(frozenset(), {}, {}, {}, {}, {}, {}, {}, frozenset(), {})
_Committed = tuple[Plan, frozenset[int], Marks]
"""A plan that is committed, the lanes that were this pod's, and when."""

MAX_BATCH_BYTES = 64 * 1024**2
"""Bytes of commands after which a batch is full: no statement may have 1 GB, and bodies are written as hex digits."""

DOOMED_AFTER = 3
"""Deaths of the process after which the command that was tried alone each time is parked."""

WARY_BATCHES = 16
"""Batches that take two round trips after one that could not be committed in one: repeats seldom come alone."""

ABSOLVE_RETRY_S = 0.2
SAY_AGAIN_S = 0.5

REFUSALS_BEFORE_PARKING = 3
"""Times an item alone is refused for its content before what it wanted is parked."""


class Committer:
    """The pipeline. `put` from the event loop; `run` is its one task.

    Args:
        after: what follows a commit, called with the batch, its plan and the lanes that were fenced.
        lost: called when nothing in memory can be believed any more.
        identity: proves who sends their messages.
        turns: where the turns run.
    """

    def __init__(
        self,
        log: CommitLog,
        kinds: Mapping[str, Kind],
        activations: Activations,
        clock: Clock,
        meter: Meter,
        *,
        max_batch: int,
        after: Callable[[Sequence[Item], Plan, list[Lane]], None],
        lost: Callable[[Exception], Awaitable[None]],
        principal_of: Callable[[Command], str | None],
        turns: TurnRunner,
        identity: Identity | None = None,
    ) -> None:
        self._log = log
        self._lookups = Lookups(kinds, activations)
        self._meter = meter
        self._monotonic = clock.monotonic
        self._max_batch = max_batch
        self._after = after
        self._lost = lost
        self._queue: deque[Item] = deque()
        self._gated: dict[Lane, None] = {}  # in order, unlike a set: what runs must not depend on addresses
        self._wake = asyncio.Event()
        self._in_hand: asyncio.Future[None] | None = None
        self._wary = 0
        self._suspects = Suspects(clock.monotonic, self._wake.set)
        self._trials = Trials()
        self._planner = Planner(kinds, clock, meter, principal_of, self._trials, turns, identity)

    @property
    def observer(self) -> Observer | None:
        """Who watches the batches."""
        return self._planner.observer

    @observer.setter
    def observer(self, observer: Observer | None) -> None:
        self._planner.observer = observer

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, item: Item) -> None:
        """Adds an item to the next batch."""
        lane = item.lane
        if type(item) is Command and (lane.gated or item.absent):
            lane.backlog.append(item)
            self._gated[lane] = None
        else:
            self._queue.append(item)
        self._wake.set()

    def ungate(self, lane: Lane) -> None:
        """Looks again at a lane whose backlog may go on."""
        self._gated[lane] = None
        self._wake.set()

    def clear(self) -> None:
        """Drops everything that waits; used when nothing in memory is believed any more."""
        for item in self._queue:
            _give_up(item, LogUnavailable("the connection to the log broke; ask again"))
        self._queue.clear()
        self._gated.clear()
        self._suspects.clear()
        self._trials.clear()

    async def run(self) -> None:
        """Commits batches, for ever."""
        while True:
            batch, careful = self._take()
            if not batch:
                self._wake.clear()
                if not self._queue and not self._trials:
                    await self._wait()
                continue
            in_hand = self._in_hand = asyncio.get_running_loop().create_future()
            try:
                if careful:
                    await self._probe(careful)
                await self._commit(batch)
            except LogUnavailable as error:
                for item in batch:
                    _give_up(item, error)
                await self._lost(error)
                in_hand.set_result(None)
                await self._absolve(careful)
            else:
                in_hand.set_result(None)

    async def settled(self) -> None:
        """Returns when memory knows of all that was committed until now, or believes nothing any more."""
        if self._in_hand is not None:
            await asyncio.wait([self._in_hand])

    async def _wait(self) -> None:
        """Until there is something to do."""
        again = asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._wake.set) if self._trials.going_on else None
        await self._wake.wait()
        if again is not None:
            again.cancel()

    def close(self) -> None:
        """Ends the turn thread."""
        self._planner.close()

    # -- taking ---------------------------------------------------------------------------------------------------

    def _take(self) -> tuple[list[Item], list[Command]]:
        """The next batch, and those of it that are to be counted before they run.

        Careful lanes give one command each. A command that was in such a batch when the process died is a suspect, and
        runs in a batch of its own, so that no other command is blamed for its deed; and none while there is a trial.
        """
        if self._suspects and (suspect := self._suspects.due()) is not None:
            return [suspect], []
        careful: list[Command] = []
        trying = self._trials.going_on
        if (put_off := self._trials.next()) is not None:
            self._queue.append(put_off)
        for lane in list(self._gated):
            while self._suspects and lane.alive and lane.backlog and not lane.backlog[0].absent:
                if not self._suspects.hold(lane.backlog[0]):
                    break
                lane.backlog.popleft()  # it waits behind its actor's command that was set aside
            if not lane.alive or not lane.backlog:
                del self._gated[lane]
            elif lane.backlog[0].absent or (trying and lane.careful > 0):
                continue
            elif lane.careful > 0:
                head = lane.backlog[0]
                if lane.probe_count > 0 and head.probe_key == lane.probe_seq:
                    lane.careful -= 1
                    return [lane.backlog.popleft()], [head]
                careful.append(head)
            else:
                # At the end: what came before the lane was gated may still wait in the queue.
                while lane.backlog and not lane.backlog[0].absent:
                    self._queue.append(lane.backlog.popleft())
        for command in careful:
            command.lane.careful -= 1
            command.lane.backlog.popleft()
        batch: list[Item] = list(careful)
        queue, holding, size = self._queue, len(self._suspects) > 0, 0
        while queue and len(batch) < self._max_batch and size < MAX_BATCH_BYTES:
            item = queue.popleft()
            if item.lane.alive:
                if not (holding and self._suspects.hold(item)):
                    batch.append(item)
                    if type(item) is Command:
                        size += item.size + item.fetched
            else:
                _give_up(item, LogUnavailable("this pod does not own the actor any more; ask again"))
        return batch, careful

    async def _probe(self, careful: Sequence[Command]) -> None:
        try:
            attempts = await self._log.probe(_counted(careful))
        except LogRefused as error:
            raise LogUnavailable(f"attempts could not be counted: {error}") from error
        for command in careful:
            # An attempt is counted before it is made: what was counted more often than allowed killed its process.
            count = attempts.get(command.lane.lane, 1)
            if count > DOOMED_AFTER:
                command.attempts = count - 1
                command.deadly = True
                command.doomed = (
                    f"the process died {count - 1} times while it was handled: look at its handler before you replay it"
                )

    async def _absolve(self, careful: Sequence[Command]) -> None:
        """Takes back the attempts of a batch that the log's connection ended: the process lives, so none killed it."""
        while careful:
            try:
                await self._log.absolve(_counted(careful))
                return
            except (LogUnavailable, LogRefused) as error:
                _log.warning("attempts cannot be taken back yet: %s", error)
                await asyncio.sleep(ABSOLVE_RETRY_S)

    # -- committing -----------------------------------------------------------------------------------------------

    async def _commit(self, batch: list[Item], refusals: int = 0) -> None:
        try:
            await self._attempt(batch)
        except LogRefused as error:
            if len(batch) == 1:
                await self._refused(batch[0], error, refusals)
                return
            _log.warning("a batch of %d is split: %s", len(batch), error)
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                # What was set aside meanwhile holds back what comes behind it.
                if free := [item for item in half if not self._suspects.hold(item)]:
                    await self._commit(free)
        else:
            if self._suspects and len(batch) == 1:
                self._queue.extendleft(reversed(self._suspects.settled(batch[0])))

    async def _refused(self, item: Item, error: LogRefused, refusals: int) -> None:
        """Deals with an item that the log does not take although it is alone."""
        if isinstance(item, (Touch, Order)):
            _give_up(item, type(error)(f"{name_of(item)} failed: {error}"))
        elif isinstance(item, Anchor):
            _log.warning("%s is not written, and will be said again: %s", name_of(item), error)
        elif isinstance(item, (Sent, Expire)):
            # On an idle lane nobody else would say it, and its outbox would hold back the trimming of answers.
            _log.warning("%s is not written, and is said again: %s", name_of(item), error)
            asyncio.get_running_loop().call_later(SAY_AGAIN_S, self.put, item)
        elif isinstance(item, Next) and not item.alone:
            item.alone = True  # it may be one of those behind the head
            await self._commit([item])
        elif item.doomed:
            _log.error("%s cannot be parked: %s", name_of(item), error)
            if not (type(item) is Command and item.deadly):
                item.doomed = ""
            self._suspects.failed(item, error)
        elif not isinstance(error, LogTimedOut) and refusals < REFUSALS_BEFORE_PARKING:
            await self._commit([item], refusals + 1)
        elif not isinstance(error, LogTimedOut) or self._suspects.failed(item, error):
            item.doomed = f"the log refused what came of it: {error}"
            await self._commit([item])

    async def _attempt(self, batch: list[Item]) -> None:
        started = self._monotonic()
        wanted, lanes, hot, early = self._lookups.of(batch)
        alone = await self._at_once(batch, wanted, lanes, hot, started)
        plan, held, marks = alone or await self._in_two(batch, wanted, lanes, hot, early)
        fenced = [lane for lane in lanes if lane.lane not in held]
        if plan.changes.events or plan.changes.inbox:
            self._suspects.committed()
        for lane, fence in zip(lanes, wanted.fences, strict=True):
            if lane.lane in held:
                lane.checkpoint, lane.checkpoint_at = fence.checkpoint, fence.checkpoint_at
                if lane.shares is not None:
                    lane.shares.committed()
            if lane.loose:
                lane.loose.difference_update([item.stream_seq for item in batch if type(item) is Command])
        for item in batch:
            if fenced and item.lane.lane not in held:
                _give_up(item, LogUnavailable("another pod owns the actor now; ask again"))
        self._after(batch, plan, fenced)
        self._trials.committed(plan)
        if self._planner.observer is not None:
            self._planner.observer.committed(batch, plan, fenced, marks)

    async def _at_once(
        self, batch: list[Item], wanted: Wanted, lanes: Sequence[Lane], hot: Mapping[str, Activation], started: float
    ) -> _Committed | None:
        """Commits a batch in one round trip, if nothing must be read for it; None when it is to be done in two."""
        if self._wary:
            self._wary -= 1
            return None
        if not reads_nothing(batch, wanted, lanes):
            return None
        plan = await self._planner.plan(batch, NOTHING_FOUND, hot)
        ran = self._monotonic()
        # An answer is recorded once: of a command that gets one now, the log says by itself whether it has one already.
        unanswered = [place for place in wanted.commands if place not in plan.inbox]
        if not await self._log.commit_at_once(
            Wanted(wanted.fences, unanswered, wanted.held, refused=wanted.refused, new=wanted.new), plan.changes
        ):
            self._wary = WARY_BATCHES
            return None
        done = self._monotonic()
        self._meter.batch(len(batch), 0.0, ran - started, done - ran)
        return plan, frozenset(lane.lane for lane in lanes), Marks(started, ran, done)

    async def _in_two(
        self,
        batch: list[Item],
        wanted: Wanted,
        lanes: Sequence[Lane],
        hot: Mapping[str, Activation],
        early: list[Item],
    ) -> _Committed:
        """Commits a batch in two round trips. Those of its turns that need nothing of the log run during the first."""
        started = self._monotonic()
        begun = asyncio.ensure_future(self._log.begin(wanted))
        try:
            await asyncio.sleep(0)  # so that it is on its way before the turns want the processor
            ahead = await self._planner.plan(early, NOTHING_FOUND, hot) if early else None
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                begun.cancel()
            await asyncio.gather(begun, return_exceptions=True)
            await self._log.rollback()
            raise
        ready = self._monotonic()
        found = await begun
        read = self._monotonic()
        fenced = any(lane.lane not in found.lanes for lane in lanes)
        kept = batch if not fenced else [item for item in batch if item.lane.lane in found.lanes]
        try:
            if ahead is None or fenced or found.inbox or found.refused:
                plan = await self._planner.plan(kept, found, hot)
            else:
                plan = await self._planner.plan(kept, found, hot, ahead, early)
        except BaseException:
            await self._log.rollback()
            raise
        ran = self._monotonic()
        if kept:
            await self._log.commit(plan.changes)
        else:
            await self._log.rollback()
        done = self._monotonic()
        self._meter.batch(len(kept), read - ready, ready - started + ran - read, done - ran)
        return plan, found.lanes, Marks(started, ran, done)


def _counted(careful: Sequence[Command]) -> list[tuple[int, int, int]]:
    return [(command.lane.lane, command.lane.epoch, command.probe_key) for command in careful]


def _give_up(item: Item, error: Exception) -> None:
    """Tells whoever waits for the item that it will not be."""
    if isinstance(item, (Touch, Order)) and not item.answered.done():
        item.answered.set_exception(error)
    elif isinstance(item, Step):
        item.answered.cancel()  # an error could be caught, and the handler would go on beside its next owner's
