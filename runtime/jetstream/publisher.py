"""Publishing to streams with the broker's acknowledgement, many at a time.

Commands to the same actor wait for each other: the broker may refuse one (a stream that is full for this size) and take
the next, which would then be processed first. Nothing else waits: facts go to a stream that makes room by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from runtime.client.connection import Connection, MessageTooLarge, header_block
from runtime.errors import NotConnected
from runtime.host.ports import OutboxRow

_log = logging.getLogger("troupe.publisher")

ACK_TIMEOUT_S = 5.0
_headers = msgspec.json.Decoder(dict[str, str])


class _Batch:
    """Rows on their way. `chains` holds, by actor, those that wait for the acknowledgement of one before.

    `homeless` are the kinds whose commands no stream takes.
    """

    __slots__ = ("acknowledged", "chains", "ended", "flying", "homeless", "rows", "under_way")

    def __init__(self, rows: Sequence[OutboxRow]) -> None:
        self.rows = rows
        self.acknowledged: set[int] = set()
        self.chains: defaultdict[str, deque[int]] = defaultdict(deque)
        self.flying: dict[str, int] = {}
        self.homeless: set[str] = set()
        self.under_way = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heads(self) -> list[int]:
        """The rows that wait for nobody."""
        heads = []
        for index, row in enumerate(self.rows):
            chain = _chain_of(row.subject)
            if chain is None or chain not in self.chains:
                heads.append(index)
            if chain is not None:
                self.chains[chain].append(index)
        return heads

    def behind(self, index: int) -> int | None:
        """The row that waited for this one."""
        chain = self.chains.get(_chain_of(self.rows[index].subject) or "")
        if not chain:
            return None
        chain.popleft()
        return chain[0] if chain else None

    def look(self) -> None:
        """Ends the batch when nothing of it is on its way any more."""
        if self.under_way and not self.flying and not self.ended.done():
            self.ended.set_result(None)

    def count(self) -> int:
        """How many from the start were acknowledged."""
        return next((index for index in range(len(self.rows)) if index not in self.acknowledged), len(self.rows))


class JetStreamPublisher:
    """Publishes outbox rows. One inbox for all acknowledgements.

    Args:
        adopt: makes the stream of the kinds that have none of their own take these, where streams are split by kind.
    """

    def __init__(self, connection: Connection, adopt: Callable[[set[str]], Awaitable[None]] | None = None) -> None:
        self._connection = connection
        self._adopt = adopt
        self._inbox = connection.new_inbox()
        self._waiting: dict[str, _Batch] = {}
        self._number = 0

    @property
    def max_bytes(self) -> int:
        """The largest message, headers included."""
        return self._connection.max_payload

    async def open(self) -> None:
        """Subscribes to the acknowledgements."""
        await self._connection.subscribe_direct(f"{self._inbox}.*", self._on_ack)

    async def publish_all(self, rows: Sequence[OutboxRow]) -> int:
        """Publishes; gives how many from the start were acknowledged. Raises NotConnected.

        Once one is refused no other is sent. What was acknowledged behind it is published again later, under its id.
        """
        batch = _Batch(rows)
        try:
            for index in batch.heads():
                self._post(batch, index)
            batch.under_way = True
            batch.look()
            progress = -1
            while not batch.ended.done() and len(batch.acknowledged) > progress:
                progress = len(batch.acknowledged)
                await asyncio.wait([batch.ended], timeout=ACK_TIMEOUT_S)
        finally:
            for name in batch.flying:
                self._waiting.pop(name, None)
        if batch.homeless and self._adopt is not None:
            # Nobody has ever served such a kind. Its commands wait in a stream, as they do where there is only one.
            await self._adopt(batch.homeless)
        return batch.count()

    def _post(self, batch: _Batch, index: int) -> None:
        row = batch.rows[index]
        self._number += 1
        name = str(self._number)
        block = header_block(_headers.decode(row.headers))
        batch.flying[name] = index
        self._waiting[name] = batch
        try:
            self._connection.post(row.subject, row.body, block, reply=f"{self._inbox}.{name}")
        except MessageTooLarge:
            # Waiting cannot make it smaller, and it must not hold up what comes behind it.
            _log.error("a message to %s is larger than the broker takes and is not sent", row.subject)
            self._settle(name, None)

    def _settle(self, name: str, problem: str | None) -> None:
        batch = self._waiting.pop(name, None)
        if batch is None:
            return
        index = batch.flying.pop(name)
        if problem is not None:
            _log.warning("%s was not stored: %s", batch.rows[index].subject, problem)
            batch.chains.clear()
        else:
            batch.acknowledged.add(index)
            behind = batch.behind(index)
            try:
                if behind is not None:
                    self._post(batch, behind)
            except NotConnected:
                batch.chains.clear()
        batch.look()

    def _on_ack(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        name = subject.rpartition(".")[2]
        if not body:
            if (batch := self._waiting.get(name)) is not None:
                row = batch.rows[batch.flying[name]]
                if row.subject.startswith("cmd."):
                    batch.homeless.add(row.subject.split(".")[2])
            self._settle(name, "no stream takes this subject")
            return
        error = msgspec.json.decode(body).get("error")
        self._settle(name, None if error is None else str(error.get("description", error)))


def _chain_of(subject: str) -> str | None:
    """The actor that a command goes to; None for a fact, which waits for nobody."""
    return subject.rpartition(".")[0] if subject.startswith("cmd.") else None
