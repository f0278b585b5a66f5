"""Reading one subject of a stream in order, from a sequence, with bounded memory.

A pull consumer without acknowledgements is only a cursor: at any doubt (a gap in its delivery sequence, silence, a
reconnect) it is thrown away, and a new one starts behind the last message. Nothing is asked for that the reader has no
room for, so a slow reader costs the broker's disk, not anybody's memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Literal

import msgspec

from runtime.client.connection import Connection, parse_headers
from runtime.client.inbox import Inbox, NoResponders
from runtime.client.stored import API_TIMEOUT_S, ApiError, Entry, StoredStream
from runtime.errors import CallFailed, NotConnected

BATCH = 128
LOW_WATER = 32
EXPIRES_S = 30
HEARTBEAT_S = 5
SILENCE_S = 12.5
INACTIVE_S = 60
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0

_ORDINARY_ENDS = (b"Batch Completed", b"Message Size Exceeds MaxBytes")
"""Statuses 409 that end a request which asked for at most so many bytes; all others end the cursor."""

_log = logging.getLogger("troupe.client")


class _Answer(msgspec.Struct):
    error: ApiError | None = None


class OrderedReader:
    """A cursor over the messages of one subject. `open` it, then call `next` for ever."""

    def __init__(self, connection: Connection, inbox: Inbox, nonce: str, stream: str, subject: str) -> None:
        self._connection = connection
        self._inbox = inbox
        self._stream = stream
        self._stored = StoredStream(connection, inbox, stream)
        self._subject = subject
        self._name = nonce
        self._deliver = f"{inbox.subject}.r.{nonce}"
        self._generation = 0
        self._consumer = ""
        self._entries: deque[Entry] = deque()
        self._arrived = asyncio.Event()
        self._outstanding = 0
        self._request = 0
        self._delivered = 0
        self._created = ""
        self._doubt: str | None = None
        self.position = 0
        """The sequence of the last message handed out, or where reading began."""

    async def open(self, after: int | Literal["new"], *, timeout_s: float = 10.0) -> None:
        """Begins to read behind the sequence `after`, or behind the stream's last message for `new`.

        Raises StreamReset, or CallFailed (unavailable) or NotConnected when that cannot be begun in time.
        """
        self._subscription = await self._connection.subscribe_direct(f"{self._deliver}.*", self._on_message)
        self._connection.resumed.add(self._on_resumed)
        try:
            async with asyncio.timeout(timeout_s):
                await self._restart(after)
        except TimeoutError as error:
            await self.close()
            if not self._connection.is_connected:
                raise NotConnected(f"NATS cannot be reached: {self._subject} cannot be read") from error
            raise CallFailed(
                "unavailable", f"stream {self._stream} cannot be read now: it is missing or has no leader"
            ) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the reading; the broker forgets the cursor."""
        self._connection.resumed.discard(self._on_resumed)
        if self._connection.is_closed:
            return
        await self._subscription.unsubscribe()
        self._drop()

    async def next(self) -> Entry:
        """The next message, whenever it comes. Raises StreamReset when messages were lost to the stream's limits."""
        while not self._entries:
            if self._doubt is not None:
                _log.info("reading %s anew: %s", self._subject, self._doubt)
                await asyncio.sleep(FIRST_PAUSE_S)  # a broker that refuses every cursor must not be asked in a spin
                await self._restart(self.position)
                continue
            self._arrived.clear()
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._arrived.wait()
            except TimeoutError:
                self._doubt = "the broker fell silent"
        entry = self._entries.popleft()
        self.position = entry.sequence
        self._pull()
        return entry

    def waiting(self, most: int) -> list[Entry]:
        """Up to `most` further messages that have arrived already."""
        entries = [self._entries.popleft() for _ in range(min(most, len(self._entries)))]
        if entries:
            self.position = entries[-1].sequence
            self._pull()
        return entries

    async def _restart(self, after: int | Literal["new"]) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await self._connection.connected.wait()
            self._drop()  # what the old cursor still delivers is read again
            self._doubt = None
            try:
                info = await self._stored.ask()
                start = info.state.last_seq if after == "new" else after
                former, self._created = self._created, info.created
                info.check(start, former)
                await self._create(start)
            except (NoResponders, TimeoutError, NotConnected) as error:
                if self._connection.is_closed:
                    raise NotConnected("the connection to NATS is closed") from error
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            self.position = start
            self._pull()
            return

    async def _create(self, after: int) -> None:
        self._drop()
        self._generation += 1
        self._consumer = f"{self._name}-{self._generation}"
        self._outstanding = self._delivered = 0
        config = {
            "name": self._consumer,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
            "filter_subject": self._subject,
            "inactive_threshold": INACTIVE_S * 10**9,
            "mem_storage": True,
            "num_replicas": 1,
        }
        raw = await self._inbox.request(
            f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._consumer}.{self._subject}",
            msgspec.json.encode({"stream_name": self._stream, "config": config, "action": "create"}),
            timeout_s=API_TIMEOUT_S,
        )
        error = msgspec.json.decode(raw, type=_Answer).error
        if error is not None:
            raise NoResponders(f"{self._stream}: {error.description}")

    def _drop(self) -> None:
        try:
            if self._consumer and self._connection.is_connected:
                self._connection.post(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}", b"")
        except NotConnected:
            pass  # the broker forgets it by itself after a while
        self._consumer = ""
        self._request += 1  # what is said of the last one is about the old cursor

    def _pull(self) -> None:
        if self._outstanding > 0 or len(self._entries) > LOW_WATER or self._doubt is not None:
            return
        max_bytes = 2 * self._connection.max_payload
        request = b'{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}' % (
            BATCH,
            max_bytes,
            EXPIRES_S * 10**9,
            HEARTBEAT_S * 10**9,
        )
        try:
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
            self._request += 1
            self._connection.post(subject, request, reply=f"{self._deliver}.{self._request}")
            self._outstanding = BATCH
        except NotConnected:
            self._doubt = "the connection was lost"

    def _on_message(self, subject: str, reply: str, data: bytes, header: bytes) -> None:
        self._arrived.set()
        if not reply:
            self._on_status(subject, header)
            return
        tokens = reply.split(".")
        if tokens[-6] != self._consumer or self._doubt is not None:
            return
        self._delivered += 1
        if int(tokens[-3]) != self._delivered:
            self._doubt = f"delivery {tokens[-3]} came after {self._delivered - 1}"
            return
        self._outstanding -= 1
        self._entries.append(Entry(int(tokens[-4]), header, data, subject))

    def _on_status(self, subject: str, header: bytes) -> None:
        status = header[9:12]
        if subject.rpartition(".")[2] != str(self._request):  # a sign of life, or of what is over
            return
        if status == b"100":
            if int(parse_headers(header).get("Nats-Last-Consumer", "0")) > self._delivered:
                self._doubt = "messages were delivered that did not arrive"
            return
        self._outstanding = 0
        if status in (b"404", b"408") or any(end in header for end in _ORDINARY_ENDS):
            self._pull()
        else:
            self._doubt = f"the broker says {header[9:80]!r}"

    def _on_resumed(self) -> None:
        self._doubt = "the connection was made anew"
        self._arrived.set()
