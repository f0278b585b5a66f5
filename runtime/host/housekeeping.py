"""Keeping stream and inbox bounded. Done by whoever owns a group's first partition; doing it twice would do no harm.

Trimming is one purge by sequence over the whole stream, below every lane's checkpoint and behind it by the configured
lag. Commands of kinds that nobody has ever served are put among the dead letters first, where a person sees them. Those
of kinds that are known and not read just now (a rolling update adds one, or took one away) hold trimming up instead,
until the stream is half full.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from runtime.clock import Clock
from runtime.errors import NotConnected
from runtime.host.broker import CommandStream, LaneReader, StoredMessage
from runtime.host.command import from_stream, readable
from runtime.host.items import Anchor
from runtime.host.keeping import Keeping, UnknownCommand
from runtime.host.lane import Lane
from runtime.host.parts import nothing_elsewhere
from runtime.host.ports import LogUnavailable
from schemas import headers as names
from schemas.digest import digest_of

_log = logging.getLogger("troupe.housekeeping")

EVERY_S = 5.0
VACUUM_EVERY_S = 2.0
CLOCK_SKEW_S = 300.0
"""The most by which the clocks of broker and database may differ: answers are kept so much longer."""

FULL_ENOUGH = 0.5
"""A stream fuller than this is trimmed without the lag: refusing commands would be worse."""


class Housekeeping:
    """The housekeeping of a pod.

    `lanes` gives its lanes, `put` puts an Anchor into the next batch, `fetch` gives an object of the broker's. See
    Parts for `oldest_elsewhere` and `first_partition`.
    """

    def __init__(
        self,
        stream: CommandStream,
        reader: LaneReader,
        keeping: Keeping,
        lanes: Callable[[], list[Lane]],
        put: Callable[[Anchor], None],
        clock: Clock,
        fetch: Callable[[str], Awaitable[bytes]],
        *,
        trim_lag_s: float,
        inbox_window_s: float,
        runs_window_s: float = 0.0,
        oldest_elsewhere: Callable[[], Awaitable[int | None]] = nothing_elsewhere,
        first_partition: int = 0,
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._keeping = keeping
        self._lanes = lanes
        self._put = put
        self._clock = clock
        self._fetch = fetch
        self._trim_lag_s = trim_lag_s
        self._inbox_window_s = inbox_window_s
        self._runs_window_s = runs_window_s
        self._oldest_elsewhere = oldest_elsewhere
        self._first_partition = first_partition
        self._samples: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Keeps house, for ever."""
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(self._trim())
            jobs.create_task(self._vacuum())

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.move_anchors()
                if self._keeps_house():
                    await self.trim()
                    while await self.trim_inbox() and self._keeps_house():
                        pass  # a page at a time: nothing waits for long
                    while self._runs_window_s > 0 and await self._keeping.trim_runs(self._runs_window_s):
                        pass
                    await self._keeping.erase()
                    await self._keeping.forget_pods()
            except (LogUnavailable, NotConnected) as error:
                _log.warning("housekeeping waits: %r", error)

    async def _vacuum(self) -> None:
        """Beside the rest, since it may take long. Postgres forgets in a crash that it was to be done."""
        while True:
            await asyncio.sleep(VACUUM_EVERY_S)
            try:
                if self._keeps_house():
                    await self._keeping.vacuum()
            except (LogUnavailable, NotConnected) as error:
                _log.warning("vacuuming waits: %r", error)

    def _keeps_house(self) -> bool:
        return any(lane.partition == self._first_partition for lane in self._lanes())

    async def move_anchors(self) -> None:
        """Moves the checkpoints of lanes without traffic to the stream's end, so that they do not hold up trimming."""
        upto = (await self._stream.state()).last_seq
        idle = [
            lane
            for lane in self._lanes()
            if lane.queued == 0 and lane.checkpoint < upto and not lane.draining and lane.shares is None
        ]
        if not idle:
            return
        last = await self._stream.message_time(upto)
        if last is None:
            return
        for lane in idle:
            taken = lane.feed.taken
            if taken > upto:
                continue  # it has come in since: an anchor never takes a checkpoint back
            if await self._reader.caught_up(lane.feed, upto) and lane.feed.taken == taken and lane.alive:
                self._put(Anchor(lane, upto, last, taken))

    async def trim(self) -> int:
        """Purges what every group has processed, the lag ago; gives the sequence it purged up to (0: nothing)."""
        now = self._clock.monotonic()
        # Before the checkpoints: who takes a kind up sets its lanes' back.
        unread, known = await self._keeping.unread_kinds(), await self._keeping.known_kinds()
        needed, retired, processed_at = await self._keeping.needed()
        if needed is None:
            return 0
        self._samples.append((now, needed))
        state = await self._stream.state()
        full = state.max_bytes > 0 and state.bytes > FULL_ENOUGH * state.max_bytes
        upto = 0
        while self._samples and (full or now - self._samples[0][0] >= self._trim_lag_s):
            # A checkpoint may have gone back since: never purge beyond what is needed now.
            upto = min(self._samples.popleft()[1], needed)
        first = state.first_seq
        if upto <= first:
            return 0
        waiting = [f"p.{partition}.*.{kind}.*.*" for kind, partition in unread]
        if not full:
            upto = await self._before(waiting, first, upto)
            waiting = []
            if upto <= first:
                return 0
        if processed_at is not None and await self._went_back(upto, processed_at):
            return 0
        present = await self._stream.kinds()
        unknown = present - known
        nobodys = [(subjects, first) for subjects in (*waiting, *[f"p.*.*.{kind}.*.*" for kind in unknown])]
        for kind, partition, checkpoint in retired:
            if kind in present:
                nobodys.append((f"p.{partition}.*.{kind}.*.*", max(first, checkpoint + 1)))
        await self._keep(nobodys, upto)
        await self._stream.purge(upto)
        return upto

    async def trim_inbox(self) -> bool:
        """Deletes a page of answers that no repeat can ask for any more; says whether there may be others."""
        elsewhere = await self._oldest_elsewhere()
        found = [] if elsewhere is None else [elsewhere]
        state = await self._stream.state()
        if state.messages:
            oldest = await self._stream.message_time(state.first_seq)
            if oldest is None:
                return False  # it was purged in between: which one is the oldest now is seen next time
            found.append(oldest)
        moment: datetime.datetime | None = None
        if found:
            moment = datetime.datetime.fromtimestamp(min(found) / 1e9 - CLOCK_SKEW_S, datetime.UTC)
        return await self._keeping.trim_inbox(self._inbox_window_s, moment)

    async def _went_back(self, upto: int, processed_at: int) -> bool:
        """Whether what lies below `upto` came after a checkpoint above it: the broker has given sequences out again.

        Until every lane has read them anew, what it says of its checkpoint is about messages that are gone.
        """
        stored_at = await self._stream.message_time(upto - 1)
        if stored_at is not None and stored_at <= processed_at:
            return False
        _log.warning("trimming waits: the broker went back in time, and some lane has not read it anew yet")
        return True

    async def _before(self, waiting: Sequence[str], first: int, upto: int) -> int:
        """The sequence of the first message of these subjects, at most `upto`."""
        for subjects in waiting:
            if (found := await self._stream.next(subjects, first)) is not None:
                upto = min(upto, found.seq)
        return upto

    async def _keep(self, nobodys: Sequence[tuple[str, int]], upto: int) -> None:
        """Puts the messages of (subjects, first sequence) below `upto` among the dead letters."""
        for subjects, first in nobodys:
            seq = first
            while (found := await self._stream.next(subjects, seq)) is not None and found.seq < upto:
                command = await self._command(found)
                if command is None:
                    return
                await self._keeping.park_unknown(command)
                _log.warning("nobody serves kind %r: command %s is a dead letter now", command.kind, command.command_id)
                seq = found.seq + 1

    async def _command(self, found: StoredMessage) -> UnknownCommand | None:
        """What is kept of a message; None when this pod has no lane any more, and so no say."""
        lane = next(iter(self._lanes()), None)
        if lane is None:
            return None
        command = from_stream(lane, *found)
        tenant, kind, key = command.address
        name = command.headers.get(names.OBJECT)
        if name is not None:
            try:
                command.body = await self._fetch(name)
                del command.headers[names.OBJECT]
            except Exception as error:  # anybody may write to the object store; a replay looks there again
                _log.warning("the body of %s is not kept with it: %r", command, error)
        return UnknownCommand(
            command.actor, tenant, readable(kind), key, readable(command.method), command.id, command.headers_json(),
            command.body, digest_of(command.method, command.body),
        )  # fmt: skip
