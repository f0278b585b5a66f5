"""Many sessions watched by one process: one cursor over all of the stream's facts, handed out to who watches them.

A broker can bear a cursor of its own for each watcher some thousand times. So there is one a feed, at the stream's end,
and what a watcher has missed (it begins at an older place, or was too slow) it reads by pages until it has come to
where the feed was when that reading began; what the feed has had since then waits for it meanwhile (docs/adr/0015).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Literal

from runtime.client.connection import Connection
from runtime.client.inbox import Inbox, NoResponders
from runtime.client.ordered import FIRST_PAUSE_S, LONGEST_PAUSE_S, OrderedReader
from runtime.client.stored import Entry, StoredStream, StreamReset
from runtime.errors import CallFailed, NotConnected

MOST_ENTRIES = 128
"""So many facts wait for one watcher; behind more, it reads them from the stream again when it has room."""

MOST_BYTES = 64 * 1024**2
"""So much waits for all watchers of a feed."""

READING = 32
"""So many watchers read pages at a time."""

HANDED_OUT = 1000

_log = logging.getLogger("troupe.client")


class Feed:
    """All facts of a stream as they are stored. It reads while somebody watches."""

    def __init__(self, connection: Connection, inbox: Inbox, nonce: str, stream: str, subjects: str) -> None:
        """`subjects` is a wildcard over all that can be watched; `nonce` is this feed's alone."""
        self.stored = StoredStream(connection, inbox, stream)
        self.connection = connection
        self.reading = asyncio.Semaphore(READING)
        self.position = 0
        """The sequence of the last message that was handed out, or where the cursor began."""
        self.held = 0
        """Bytes that wait for watchers."""
        self._inbox = inbox
        self._nonce = nonce
        self._subjects = subjects
        self._generation = 0
        self._watchers: dict[str, list[Watcher]] = {}
        self._wanted = 0
        self._beginning = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    async def watch(self, subject: str, after: int | Literal["new"], *, timeout_s: float = 10.0) -> Watcher:
        """Watches one subject from behind the sequence `after`, or behind the stream's last message for `new`.

        Raises StreamReset, or CallFailed (unavailable) or NotConnected when that cannot be begun in time.
        """
        self._wanted += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await self._watch(subject, after)
        except BaseException as error:
            await self._let_go()
            if not isinstance(error, TimeoutError):
                raise
            if not self.connection.is_connected:
                raise NotConnected(f"NATS cannot be reached: {subject} cannot be read") from error
            raise CallFailed(
                "unavailable", f"stream {self.stored.name} cannot be read now: it is missing or has no leader"
            ) from error

    async def _watch(self, subject: str, after: int | Literal["new"]) -> Watcher:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._begin()
                info = await self.stored.info()
                if self._running is not None:  # else it has failed meanwhile
                    break
            except (NoResponders, TimeoutError, NotConnected):
                if self.connection.is_closed:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        start = info.state.last_seq if after == "new" else after
        info.check(start, "")
        watcher = Watcher(self, subject, start, info.created)
        self._watchers.setdefault(subject, []).append(watcher)
        return watcher

    async def leave(self, watcher: Watcher) -> None:
        """Forgets a watcher. The last one to leave ends the reading."""
        self._forget(watcher)
        await self._let_go()

    async def _let_go(self) -> None:
        self._wanted -= 1
        if self._wanted == 0 and self._running is not None:
            running, self._running = self._running, None
            running.cancel()
            await asyncio.wait([running])

    def _forget(self, watcher: Watcher) -> None:
        watchers = self._watchers.get(watcher.subject, [])
        if watcher in watchers:
            watchers.remove(watcher)
            if not watchers:
                del self._watchers[watcher.subject]

    async def _begin(self) -> None:
        async with self._beginning:
            if self._running is not None:
                return
            self._generation += 1
            cursor = OrderedReader(
                self.connection, self._inbox, f"{self._nonce}-{self._generation}", self.stored.name, self._subjects
            )
            await cursor.open("new", timeout_s=3600.0)
            self.position = cursor.position
            self._running = asyncio.ensure_future(self._run(cursor))

    async def _run(self, cursor: OrderedReader) -> None:
        try:
            while True:
                first = await cursor.next()
                for entry in (first, *cursor.waiting(HANDED_OUT)):
                    self.position = entry.sequence
                    for watcher in tuple(self._watchers.get(entry.subject, ())):
                        watcher.take(entry)
        except Exception as error:  # noqa: BLE001  # all who watch are told, and begin anew
            if not isinstance(error, StreamReset | NotConnected):
                _log.exception("the feed of %s failed", self.stored.name)
            self._running = None
            for watcher in [one for watchers in self._watchers.values() for one in watchers]:
                watcher.fail(error)
            self._watchers.clear()
        finally:
            await cursor.close()


class Watcher:
    """One who watches a subject. Call `next` for ever."""

    def __init__(self, feed: Feed, subject: str, after: int, created: str) -> None:
        self.subject = subject
        self.position = after
        """The sequence of the last message handed out, or where watching began."""
        self._feed = feed
        self._created = created
        self._read: deque[Entry] = deque()
        self._live: deque[Entry] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._error: Exception | None = None
        self._closed = False
        self._reached = after
        """The sequence up to which everything of the subject is in `_read` or was handed out."""
        self._joined: int | None = None
        """Where the feed was when it began to hand out to this watcher; None: it does not."""
        self._behind = True
        self._join()

    async def next(self) -> Entry:
        """The next message, whenever it comes. Raises StreamReset when messages were lost to the stream's limits."""
        pause_s = FIRST_PAUSE_S
        while not self._read and (self._behind or not self._live):
            if self._error is not None:
                raise self._error
            if not self._behind:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            try:
                async with self._feed.reading:
                    await self._catch_up()
                pause_s = FIRST_PAUSE_S
            except (NoResponders, TimeoutError, NotConnected):
                if self._feed.connection.is_closed:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        return self._pop()

    def waiting(self, most: int) -> list[Entry]:
        """Up to `most` further messages that have arrived already."""
        entries: list[Entry] = []
        while len(entries) < most and (self._read or (self._live and not self._behind)):
            entries.append(self._pop())
        return entries

    async def close(self) -> None:
        """Ends the watching; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._drop()
            await self._feed.leave(self)

    # What the feed calls

    def take(self, entry: Entry) -> None:
        """One message of the subject, in order."""
        if self._joined is None or entry.sequence <= self._joined:
            return
        if len(self._live) >= MOST_ENTRIES or self._feed.held > MOST_BYTES:
            if not self._behind:
                self._reached = (self._live[0] if self._live else entry).sequence - 1
            self._drop()
            self._behind = True
        else:
            self._live.append(entry)
            self._bytes += len(entry.body)
            self._feed.held += len(entry.body)
        self._arrived.set()

    def fail(self, error: Exception) -> None:
        """The feed has ended."""
        self._error = error
        self._arrived.set()

    # Inside

    def _join(self) -> None:
        """From here on the feed hands out; what it has had before is to be read."""
        self._joined = max(self._feed.position, self._reached)
        self._behind = self._joined > self._reached

    def _drop(self) -> None:
        self._feed.held -= self._bytes
        self._bytes = 0
        self._live.clear()
        self._joined = None

    def _pop(self) -> Entry:
        if self._read:
            entry = self._read.popleft()
        else:
            entry = self._live.popleft()
            self._bytes -= len(entry.body)
            self._feed.held -= len(entry.body)
            self._reached = entry.sequence
        self.position = entry.sequence
        return entry

    async def _catch_up(self) -> None:
        """Reads a page; when nothing is missing any more, the rest comes from the feed."""
        if self._joined is None:
            self._join()
            if not self._behind:
                return
        upto = self._joined
        entries = await self._feed.stored.page(self.subject, self._reached)
        # Asked after the page was read: what the stream still held then, it held while it was read.
        info = await self._feed.stored.info()
        info.check(self._reached, self._created)
        assert upto is not None
        if not entries and info.state.last_seq < upto:
            raise NoResponders(f"{self._feed.stored.name}: its leader knows less than the feed has shown")
        if self._joined is None:
            upto = entries[-1].sequence if entries else upto  # the feed has overtaken it meanwhile: take what there is
        self._read.extend(entry for entry in entries if entry.sequence <= upto)
        if not entries or entries[-1].sequence >= upto:
            self._reached = upto
            self._behind = self._joined is None
        else:
            self._reached = entries[-1].sequence
