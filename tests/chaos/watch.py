"""What the broker stored: the commands, read from CMD while the run goes on, and the facts of EV at its end."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import nats
import nats.errors
from nats.aio.client import Client as Nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError

from runtime.jetstream.reader import nanoseconds
from schemas.wire import Fact
from tests.chaos.record import Seen, seen_of

READ_AGAIN = 10_000
"""So many messages are read a second time when the broker has lost the last one that was read: more than it loses."""


class _Message(msgspec.Struct):
    time: str


class _Found(msgspec.Struct):
    """What the broker says of one message: when it was stored, if it is there."""

    message: _Message | None = None


class Watch:
    """Reads a stream of commands from its start, through every crash of the broker.

    After a power cut sequences are given out again. `stored` has, for each actor, the ids of its commands in the order
    of their first place in the stream; several watches may share it.
    """

    def __init__(self, url: str, stream: str, stored: dict[str, dict[str, int]]) -> None:
        self._url = url
        self._stream = stream
        self.last = 0
        self.stored = stored
        self._times: dict[int, int] = {}
        """When each message was stored, in Unix nanoseconds."""
        self.missed = 0
        """Messages that were trimmed before they were read here."""

    async def run(self) -> None:
        """Reads for ever."""
        connection = await nats.connect(
            self._url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_ignore
        )
        try:
            while True:
                with contextlib.suppress(nats.errors.Error, JetStreamError, OSError, TimeoutError):
                    await self._read(connection)
                await asyncio.sleep(0.2)
        finally:
            await connection.close()

    async def _read(self, connection: Nats) -> None:
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=await self._next(connection),
            ack_policy=AckPolicy.NONE,
            mem_storage=True,
            inactive_threshold=30,
        )
        js = connection.jetstream(timeout=2)
        cursor = await js.pull_subscribe("", stream=self._stream, config=config)
        try:
            while True:
                for message in await cursor.fetch(500, timeout=1):
                    self._note(message.subject, message.reply, message.headers or {})
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await cursor.unsubscribe()

    async def _next(self, connection: Nats) -> int:
        """Where a cursor is to begin."""
        if not self.last:
            return 1
        asked = b'{"seq":%d}' % self.last
        answer = await connection.request(f"$JS.API.STREAM.MSG.GET.{self._stream}", asked, timeout=2)
        message = msgspec.json.decode(answer.data, type=_Found).message
        if message is not None and nanoseconds(message.time) == self._times[self.last]:
            return self.last + 1
        return max(1, self.last - READ_AGAIN)

    def _note(self, subject: str, reply: str, headers: dict[str, str]) -> None:
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>
        stored, _, at, _ = reply.rsplit(".", 4)[1:]
        sequence, stored_at = int(stored), int(at)
        if self._times.get(sequence) == stored_at:
            return
        if self.last and sequence > self.last + 1:
            self.missed += sequence - self.last - 1
        self.last = sequence
        self._times[sequence] = stored_at
        actor = "/".join(subject.split(".")[2:5])
        self.stored.setdefault(actor, {}).setdefault(headers.get("Troupe-Id", ""), sequence)


async def read_facts(url: str) -> dict[str, list[Seen]]:
    """session → its facts, as stream EV holds them now."""
    connection = await nats.connect(url.split(","))
    found: dict[str, list[Seen]] = {}
    try:
        js = connection.jetstream(timeout=5)
        state = (await js.stream_info("EV")).state
        cursor = await js.subscribe("", stream="EV", ordered_consumer=True)
        last = 0
        while state.messages and last < state.last_seq:
            message = await cursor.next_msg(timeout=10)
            last = message.metadata.sequence.stream
            fact = msgspec.json.decode(message.data, type=Fact)
            session = "/".join(message.subject.split(".")[1:])
            at = message.metadata.timestamp.timestamp()
            found.setdefault(session, []).append(seen_of(last, fact, at))
    finally:
        await connection.close()
    return found


async def _ignore(error: Exception) -> None:
    """The broker is killed on purpose."""
