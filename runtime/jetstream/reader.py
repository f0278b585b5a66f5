"""Reading a lane of CMD: one pull consumer a lane, without acknowledgements, from any sequence.

The checkpoint lives in the log, so a consumer is only a cursor and can be thrown away at any doubt. Doubt is: a gap in
its delivery sequence, a missed heartbeat, a status nobody asked for, a reconnect. The new one starts at the last
sequence taken + 1 under a new name, and late messages of the old one are told by that name.

Before each consumer is made, the message at the checkpoint is compared with the timestamp kept beside it: a broker that
went back in time (power cut, restored volume, recreated stream) is read again from its beginning, and the inbox drops
what was seen.
"""

from __future__ import annotations

import asyncio
import calendar
import logging
import time
from collections.abc import Sequence

import msgspec
import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from runtime.client.connection import Connection, parse_headers
from runtime.clock import Clock
from runtime.errors import NotConnected
from runtime.host.broker import Deliver, Feed
from schemas.subjects import CMD_STREAM

_log = logging.getLogger("troupe.reader")

EXPIRES_S = 20
HEARTBEAT_S = 1.0
MISSED_HEARTBEATS = 2.5
NO_MESSAGE = 10037
CREATE_AT_ONCE = 16
REQUEST_ENDED = ("Message Size Exceeds MaxBytes", "Batch Completed")
"""Descriptions of status 409 that only say that a request is over."""

CROWDED = 1000
"""Messages of a lane that wait in the broker, behind what the lane holds, at which tenants are looked at."""

MAX_PULL_BYTES = 16 * 1024**2
"""Bytes one request may bring; more than the largest message, or a lane would never get past it."""


class CommandReader:
    """The consumers of one pod.

    Args:
        connection: a connection whose reconnects are reported to `restart_all`.
        kinds: only their messages are handed on.
        deliver: called for each message, in order per feed; must not wait.
        batch: messages asked for at a time.
        stream: the stream that holds these kinds' commands.
    """

    def __init__(
        self,
        connection: Connection,
        kinds: Sequence[str],
        deliver: Deliver,
        clock: Clock,
        *,
        batch: int = 256,
        stream: str = CMD_STREAM,
    ) -> None:
        self._connection = connection
        self.stream = stream
        self._kinds = frozenset(kinds)
        self._deliver = deliver
        self._clock = clock
        self._batch = batch
        self._inbox = connection.new_inbox()
        self._feeds: dict[str, Feed] = {}
        self._by_consumer: dict[str, Feed] = {}
        self._by_inbox: dict[str, Feed] = {}
        self._creating = asyncio.Semaphore(CREATE_AT_ONCE)
        self._background: set[asyncio.Task[None]] = set()
        self._generations = 0
        self.restarts = 0

    async def open(self) -> None:
        """Subscribes to the inbox that all consumers deliver to."""
        await self._connection.subscribe_direct(f"{self._inbox}.*.*", self._on_message)

    def start(self, feed: Feed) -> None:
        """Starts reading a lane."""
        self._feeds[feed.name] = feed
        self._by_inbox[feed.name] = feed
        self._restart(feed, "started")

    def stop(self, feed: Feed) -> None:
        """Stops reading a lane; nothing is delivered for it any more."""
        feed.closed = True
        feed.reading = False
        if self._feeds.get(feed.name) is feed:
            del self._feeds[feed.name]
            del self._by_inbox[feed.name]
        if feed.restart is not None:
            feed.restart.cancel()
        self._drop_consumer(feed)

    def restart_all(self, why: str) -> None:
        """Makes every consumer anew: after a reconnect nothing is known of the old ones."""
        for feed in list(self._feeds.values()):
            self._restart(feed, why)

    def pull(self, feed: Feed) -> None:
        """Asks for more messages when the lane has room for a batch of them."""
        room = feed.room() - feed.outstanding
        if not feed.reading or room < (feed.batch or self._batch):
            return
        feed.outstanding += room
        request = b'{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}' % (
            room,
            MAX_PULL_BYTES if feed.tenant is None else 2 * self._connection.max_payload,
            EXPIRES_S * 10**9,
            int(HEARTBEAT_S * 1e9),
        )
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{feed.consumer}"
        try:
            self._connection.post(subject, request, reply=f"{self._inbox}.{feed.name}.{feed.generation}")
        except NotConnected:
            feed.last_seen = 0.0  # the watch makes a new consumer once the connection is back

    async def watch(self) -> None:
        """Notices consumers that fell silent, for ever."""
        while True:
            await asyncio.sleep(HEARTBEAT_S / 2)
            if not self._connection.is_connected:
                continue
            now = self._clock.monotonic()
            for feed in list(self._feeds.values()):
                if not feed.reading:
                    continue
                if feed.outstanding > 0 and now - feed.last_seen > MISSED_HEARTBEATS * HEARTBEAT_S:
                    self._restart(feed, "missed heartbeats")
                else:
                    self.pull(feed)

    async def caught_up(self, feed: Feed, upto: int) -> bool:
        """See runtime.host.broker.LaneReader.

        The stream is asked, not the consumer: a consumer hears of messages after they are stored, and on a busy machine
        what its info calls pending was seen to be hundreds of messages behind.
        """
        if not feed.reading:
            return False
        everything = f"p.{feed.partition}.{'' if feed.tenant is None else f'{feed.tenant}.'}>"
        each = [f"p.{feed.partition}.{feed.tenant or '*'}.{kind}.*.*" for kind in sorted(self._kinds)]
        after = feed.taken + 1
        try:
            if not await self._holds(everything, after, upto):
                return True
            for one in each:  # what was found may be of a kind that another group serves
                if await self._holds(one, after, upto):
                    return False
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise NotConnected(f"stream {self.stream} does not say what it holds: {error!r}") from error
        return True

    async def _holds(self, subjects: str, after: int, upto: int) -> bool:
        """Whether the stream holds a message of these subjects from `after` to `upto`."""
        request = msgspec.json.encode({"seq": after, "next_by_subj": subjects})
        answer = await self._connection.request(f"$JS.API.STREAM.MSG.GET.{self.stream}", request, timeout=2)
        found = msgspec.json.decode(answer.data)
        if "message" in found:
            return bool(found["message"]["seq"] <= upto)
        if found.get("error", {}).get("err_code") == NO_MESSAGE:
            return False
        raise NotConnected(f"stream {self.stream} cannot be asked for {subjects}: {found.get('error')}")

    def _on_message(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        if not reply.startswith("$JS.ACK."):
            self._on_status(subject, headers)
            return
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>; longer with domains
        _, consumer, _, stored, delivered, at, behind = reply.rsplit(".", 6)
        feed = self._by_consumer.get(consumer)
        if feed is None or not feed.reading:
            return  # a late message of a consumer that was given up
        feed.last_seen = self._clock.monotonic()
        consumer_seq, stream_seq = int(delivered), int(stored)
        if consumer_seq != feed.delivered + 1:
            self._restart(feed, f"delivery went from {feed.delivered} to {consumer_seq}")
            return
        if stream_seq <= feed.taken:
            # What lies between was not handed on: going on behind `taken` would lose it. The inbox sorts it out.
            _log.warning("partition %s: message %s came when %s was taken", feed.name, stream_seq, feed.taken)
        feed.delivered = consumer_seq
        if subject.split(".", 4)[3] not in self._kinds:  # the consumer's filter lets them through, see _new_consumer
            feed.outstanding -= 1
            self.pull(feed)
            return
        feed.taken = stream_seq
        feed.taken_at = int(at)
        feed.outstanding -= 1
        feed.behind = int(behind)
        if feed.apart and (apart := feed.apart.get(subject.split(".", 3)[2])) is not None:
            apart.left = stream_seq
            self.pull(feed)
            return
        self._deliver(feed, subject, stream_seq, feed.taken_at, headers, body)
        if feed.behind >= CROWDED and feed.crowded is not None:
            feed.crowded(subject.split(".", 3)[2])
        if feed.outstanding < self._batch:
            self.pull(feed)

    def _on_status(self, subject: str, block: bytes) -> None:
        name, generation = subject.rsplit(".", 2)[1:]
        feed = self._by_inbox.get(name)
        if feed is None or feed.generation != int(generation) or not feed.reading:
            return
        feed.last_seen = self._clock.monotonic()
        headers = parse_headers(block)
        status = headers.get("Status")
        if status == "100":
            if int(headers.get("Nats-Last-Consumer", feed.delivered)) > feed.delivered:
                self._restart(feed, "messages were delivered that did not arrive")
        elif status in ("404", "408") or headers.get("Description", "") in REQUEST_ENDED:
            # The request ended, perhaps with some of its messages not sent; they may be asked for again.
            feed.outstanding = max(0, feed.outstanding - int(headers.get("Nats-Pending-Messages", "0")))
            self.pull(feed)
        else:
            self._restart(feed, f"status {status} {headers.get('Description', '')}")

    def _restart(self, feed: Feed, why: str) -> None:
        if feed.closed or (feed.restart is not None and not feed.restart.done()):
            return
        if feed.generation:
            self.restarts += 1
            _log.info("partition %s is read anew from %s: %s", feed.name, feed.taken + 1, why)
        feed.reading = False
        self._drop_consumer(feed)
        feed.restart = asyncio.ensure_future(self._create(feed))

    async def _create(self, feed: Feed) -> None:
        delay = 0.05
        while not feed.closed:
            try:
                async with self._creating:
                    await self._check_anchor(feed)
                    for one in list(feed.apart.values()):
                        # Before this feed leaves them anything: what they have done may be gone from the stream.
                        await self._check_anchor(one)
                    name = await self._new_consumer(feed)
                break
            except (nats.errors.Error, OSError, TimeoutError, NotConnected) as error:
                _log.warning("partition %s has no consumer yet: %r", feed.name, error)
                await asyncio.sleep(delay)
                delay = min(1.0, delay * 2)
        if feed.closed:
            return
        feed.consumer = name
        self._by_consumer[name] = feed
        # Unique in this pod: a late status for a lane that was lost must not speak for the one that came back.
        self._generations += 1
        feed.generation = self._generations
        feed.outstanding = feed.delivered = 0
        feed.last_seen = self._clock.monotonic()
        feed.reading = True
        self.pull(feed)

    async def _check_anchor(self, feed: Feed) -> None:
        if feed.taken == 0:
            return
        found = await message_time(self._connection, feed.taken, self.stream)
        if found != feed.taken_at:
            _log.warning(
                "the broker went back in time: message %s of partition %s is %s; reading the stream from its "
                "beginning, the inbox drops what was seen",
                feed.taken,
                feed.name,
                "gone" if found is None else "another one",
            )
            feed.taken = feed.taken_at = 0
            if feed.went_back is not None:
                feed.went_back()

    async def _new_consumer(self, feed: Feed) -> str:
        name = f"troupe_{feed.name}_{self._clock.token(6)}"
        # With several filters nats-server looks at all subjects of a partition for each message that it delivers: at
        # ten thousand keys, 1.5 ms under its lock. Other groups' kinds are dropped here, for some microseconds each.
        kind = next(iter(self._kinds)) if len(self._kinds) == 1 else None
        config = ConsumerConfig(
            name=name,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=feed.taken + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=30,
            mem_storage=True,
            num_replicas=1,
            filter_subject=_filter(feed, kind),
        )
        await self._connection.jetstream(timeout=2).add_consumer(self.stream, config)
        return name

    def _drop_consumer(self, feed: Feed) -> None:
        name, feed.consumer = feed.consumer, None
        if name is None:
            return
        self._by_consumer.pop(name, None)
        try:
            if self._connection.is_connected:
                self._connection.post(f"$JS.API.CONSUMER.DELETE.{self.stream}.{name}", b"", reply=f"{self._inbox}.x.0")
        except NotConnected:
            pass  # the broker forgets it by itself after a while


def _filter(feed: Feed, kind: str | None) -> str:
    if kind is not None:
        return f"p.{feed.partition}.{feed.tenant or '*'}.{kind}.*.*"
    return f"p.{feed.partition}.>" if feed.tenant is None else f"p.{feed.partition}.{feed.tenant}.>"


async def message_time(connection: Connection, seq: int, stream: str = CMD_STREAM) -> int | None:
    """When the broker stored message `seq` of a stream (Unix nanoseconds), or None when there is no such message."""
    answer = await connection.request(f"$JS.API.STREAM.MSG.GET.{stream}", b'{"seq":%d}' % seq, timeout=2)
    found = msgspec.json.decode(answer.data)
    if "message" in found:
        return nanoseconds(found["message"]["time"])
    if found.get("error", {}).get("err_code") == NO_MESSAGE:
        return None
    raise NotConnected(f"message {seq} of stream {stream} cannot be read: {found.get('error')}")


def nanoseconds(rfc3339: str) -> int:
    """Unix nanoseconds of an RFC 3339 time in UTC, as NATS writes them (`2026-01-02T03:04:05.678Z`)."""
    whole, _, fraction = rfc3339.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int(fraction.ljust(9, "0") or 0)
