"""Keeping stream and inbox bounded. Done by whoever owns a group's partition 0; doing it twice would do no harm.

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
from typing import Any

import msgspec
import nats.errors
from nats.js.errors import Error as JetStreamError

from runtime.client.connection import Connection
from runtime.clock import Clock
from runtime.errors import NotConnected
from runtime.host.command import from_stream, readable
from runtime.host.items import Anchor
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable
from runtime.jetstream.reader import NO_MESSAGE, CommandReader, message_time, nanoseconds
from runtime.postgres.keeping import PostgresKeeping, UnknownCommand
from schemas import headers as names
from schemas.digest import digest_of
from schemas.subjects import CMD_STREAM

_log = logging.getLogger("troupe.housekeeping")

EVERY_S = 5.0
UNAVAILABLE = (
    nats.errors.Error,
    JetStreamError,
    LogUnavailable,
    NotConnected,
    OSError,
    TimeoutError,
    msgspec.MsgspecError,  # an answer of the broker's in another form
)
CLOCK_SKEW_S = 300.0
"""The most by which the clocks of broker and database may differ: answers are kept so much longer."""

FULL_ENOUGH = 0.5
"""A stream fuller than this is trimmed without the lag: refusing commands would be worse."""


class Housekeeping:
    """The housekeeping of a pod.

    `lanes` gives its lanes, `put` puts an Anchor into the next batch, `fetch` gives an object of the broker's.
    """

    def __init__(
        self,
        connection: Connection,
        reader: CommandReader,
        keeping: PostgresKeeping,
        lanes: Callable[[], list[Lane]],
        put: Callable[[Anchor], None],
        clock: Clock,
        fetch: Callable[[str], Awaitable[bytes]],
        *,
        trim_lag_s: float,
        inbox_window_s: float,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._keeping = keeping
        self._lanes = lanes
        self._put = put
        self._clock = clock
        self._fetch = fetch
        self._trim_lag_s = trim_lag_s
        self._inbox_window_s = inbox_window_s
        self._samples: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Keeps house, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.move_anchors()
                if any(lane.partition == 0 for lane in self._lanes()):
                    await self.trim()
                    await self.trim_inbox()
                    await self._keeping.forget_pods()
            except UNAVAILABLE as error:
                _log.warning("housekeeping waits: %r", error)

    async def move_anchors(self) -> None:
        """Moves the checkpoints of lanes without traffic to the stream's end, so that they do not hold up trimming."""
        js = self._connection.jetstream(timeout=2)
        upto = (await js.stream_info(CMD_STREAM)).state.last_seq
        idle = [lane for lane in self._lanes() if lane.queued == 0 and lane.checkpoint < upto and not lane.draining]
        if not idle:
            return
        last = await message_time(self._connection, upto)
        if last is None:
            return
        for lane in idle:
            taken = lane.feed.taken
            if await self._reader.caught_up(lane.feed, upto) and lane.feed.taken == taken and lane.alive:
                self._put(Anchor(lane, upto, last, taken))

    async def trim(self) -> int:
        """Purges what every group has processed, the lag ago; gives the sequence it purged up to (0: nothing)."""
        now = self._clock.monotonic()
        unread = await self._keeping.unread_kinds()  # before the checkpoints: who takes a kind up sets its lanes' back
        needed, retired = await self._keeping.needed()
        if needed is None:
            return 0
        self._samples.append((now, needed))
        info = await self._connection.jetstream(timeout=5).stream_info(CMD_STREAM)
        full = bool(info.config.max_bytes and info.config.max_bytes > 0) and (
            info.state.bytes > FULL_ENOUGH * (info.config.max_bytes or 1)
        )
        upto = 0
        while self._samples and (full or now - self._samples[0][0] >= self._trim_lag_s):
            # A checkpoint may have gone back since: never purge beyond what is needed now.
            upto = min(self._samples.popleft()[1], needed)
        if upto <= info.state.first_seq:
            return 0
        first = info.state.first_seq
        waiting = [f"p.{partition}.*.{kind}.*.*" for kind, partition in unread]
        if not full:
            upto = await self._before(waiting, first, upto)
            waiting = []
            if upto <= first:
                return 0
        present = await self._kinds_in_stream()
        unknown = present - await self._keeping.known_kinds()
        nobodys = [(subjects, first) for subjects in (*waiting, *[f"p.*.*.{kind}.*.*" for kind in unknown])]
        for kind, partition, checkpoint in retired:
            if kind in present:
                nobodys.append((f"p.{partition}.*.{kind}.*.*", max(first, checkpoint + 1)))
        await self._keep(nobodys, upto)
        await self._connection.jetstream(timeout=30).purge_stream(CMD_STREAM, seq=upto)
        return upto

    async def trim_inbox(self) -> None:
        """Deletes answers that no repeat can ask for any more."""
        state = (await self._connection.jetstream(timeout=5).stream_info(CMD_STREAM)).state
        moment: datetime.datetime | None = None
        if state.messages:
            oldest = await message_time(self._connection, state.first_seq)
            if oldest is None:
                return  # it was purged in between: which one is the oldest now is seen next time
            moment = datetime.datetime.fromtimestamp(oldest / 1e9 - CLOCK_SKEW_S, datetime.UTC)
        await self._keeping.trim_inbox(self._inbox_window_s, moment)

    async def _before(self, waiting: Sequence[str], first: int, upto: int) -> int:
        """The sequence of the first message of these subjects, at most `upto`."""
        for subjects in waiting:
            if (found := await self._next(subjects, first)) is not None:
                upto = min(upto, found.seq)
        return upto

    async def _keep(self, nobodys: Sequence[tuple[str, int]], upto: int) -> None:
        """Puts the messages of (subjects, first sequence) below `upto` among the dead letters."""
        for subjects, first in nobodys:
            seq = first
            while (found := await self._next(subjects, seq)) is not None and found.seq < upto:
                command = await self._command(found)
                if command is None:
                    return
                await self._keeping.park_unknown(command)
                _log.warning("nobody serves kind %r: command %s is a dead letter now", command.kind, command.command_id)
                seq = found.seq + 1

    async def _command(self, found: _Message) -> UnknownCommand | None:
        """What is kept of a message; None when this pod has no lane any more, and so no say."""
        lane = next(iter(self._lanes()), None)
        if lane is None:
            return None
        at = nanoseconds(found.time)
        command = from_stream(lane, found.subject, found.seq, at, found.hdrs, found.data)
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

    async def _kinds_in_stream(self) -> set[str]:
        kinds: set[str] = set()
        offset = 0
        while True:  # the broker gives a hundred thousand subjects at a time
            request = msgspec.json.encode({"subjects_filter": "p.>", "offset": offset})
            answer = await self._connection.request(f"$JS.API.STREAM.INFO.{CMD_STREAM}", request, timeout=30)
            found = msgspec.json.decode(answer.data)
            subjects = found.get("state", {}).get("subjects") or {}
            kinds |= {subject.split(".")[3] for subject in subjects}
            offset += len(subjects)
            if not subjects or offset >= found.get("total", 0):
                return kinds

    async def _next(self, subjects: str, seq: int) -> _Message | None:
        """The first message of these subjects from `seq` on."""
        request = msgspec.json.encode({"seq": seq, "next_by_subj": subjects})
        answer = await self._connection.request(f"$JS.API.STREAM.MSG.GET.{CMD_STREAM}", request, timeout=5)
        found = msgspec.json.decode(answer.data, type=_Found)
        if found.message is None and found.error.get("err_code") != NO_MESSAGE:
            raise NotConnected(f"stream {CMD_STREAM} cannot be asked for {subjects}: {found.error}")
        return found.message


class _Message(msgspec.Struct):
    subject: str
    seq: int
    time: str
    hdrs: bytes = b""
    data: bytes = b""


class _Found(msgspec.Struct):
    message: _Message | None = None
    error: dict[str, Any] = {}
