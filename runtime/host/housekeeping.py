"""Keeping stream and inbox bounded. Done by whoever owns a group's partition 0; doing it twice would do no harm.

Trimming is one purge by sequence over the whole stream, below every lane's checkpoint and behind it by the configured
lag. Commands of kinds that nobody has ever served are put among the dead letters first, where a person sees them.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections import deque
from collections.abc import Callable

import msgspec
import nats.errors
from nats.js.errors import Error as JetStreamError

from runtime.client.connection import Connection
from runtime.clock import Clock
from runtime.errors import NotConnected
from runtime.host.items import Anchor
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable
from runtime.jetstream.reader import CommandReader, message_time, nanoseconds
from runtime.postgres.keeping import PostgresKeeping, UnknownCommand
from schemas import headers as names
from schemas.address import actor_id
from schemas.subjects import CMD_STREAM

_log = logging.getLogger("troupe.housekeeping")

EVERY_S = 5.0
FULL_ENOUGH = 0.5
"""A stream fuller than this is trimmed without the lag: refusing commands would be worse."""


class Housekeeping:
    """The housekeeping of a pod. `lanes` gives its lanes; `put` puts an Anchor into the next batch."""

    def __init__(
        self,
        connection: Connection,
        reader: CommandReader,
        keeping: PostgresKeeping,
        lanes: Callable[[], list[Lane]],
        put: Callable[[Anchor], None],
        clock: Clock,
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
            except (nats.errors.Error, JetStreamError, LogUnavailable, NotConnected, OSError, TimeoutError) as error:
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
        needed = await self._keeping.oldest_needed()
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
        await self._keep_unknown(info.state.first_seq, upto)
        await self._connection.jetstream(timeout=30).purge_stream(CMD_STREAM, seq=upto)
        return upto

    async def trim_inbox(self) -> None:
        """Deletes answers that no repeat can ask for any more."""
        state = (await self._connection.jetstream(timeout=5).stream_info(CMD_STREAM)).state
        oldest = await message_time(self._connection, state.first_seq) if state.messages else None
        moment = None if oldest is None else datetime.datetime.fromtimestamp(oldest / 1e9, datetime.UTC)
        await self._keeping.trim_inbox(self._inbox_window_s, moment)

    async def _keep_unknown(self, first: int, upto: int) -> None:
        """Puts messages below `upto` of kinds that nobody has ever served among the dead letters."""
        known = await self._keeping.known_kinds()
        for kind in await self._kinds_in_stream() - known:
            seq = first
            while (found := await self._next_of_kind(kind, seq)) is not None and found[0] < upto:
                seq, command = found
                await self._keeping.park_unknown(command)
                _log.warning("nobody serves kind %r: command %s is among the dead letters", kind, command.command_id)
                seq += 1

    async def _kinds_in_stream(self) -> set[str]:
        js = self._connection.jetstream(timeout=30)
        info = await js.stream_info(CMD_STREAM, subjects_filter="p.>")
        return {subject.split(".")[3] for subject in (info.state.subjects or {})}

    async def _next_of_kind(self, kind: str, seq: int) -> tuple[int, UnknownCommand] | None:
        request = msgspec.json.encode({"seq": seq, "next_by_subj": f"p.*.*.{kind}.*.*"})
        answer = await self._connection.request(f"$JS.API.DIRECT.GET.{CMD_STREAM}", request, timeout=5)
        headers = dict(answer.headers or {})
        if headers.get("Status") is not None and "Nats-Sequence" not in headers:
            return None
        _, _, tenant, _, token, method = headers["Nats-Subject"].split(".")
        number = int(headers["Nats-Sequence"])
        command_id = headers.get(names.ID) or f"seq-{number}-{nanoseconds(headers['Nats-Time-Stamp'])}"
        own = {name: value for name, value in headers.items() if not name.startswith("Nats-")}
        command = UnknownCommand(
            actor_id(tenant, kind, token), tenant, kind, token, method, command_id,
            msgspec.json.encode(own).decode(), answer.data,
        )  # fmt: skip
        return number, command
