"""Sending what was committed: one batch in flight a lane, in order, until the broker has acknowledged it.

A message has a deterministic id, so sending it twice (after a take-over, or when an acknowledgement was lost) is
harmless: the receiving actor's inbox, or the reader of a session's stream, drops the second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import islice

from runtime.errors import CallFailed, NotConnected
from runtime.host.answers import too_large
from runtime.host.broker import Publisher
from runtime.host.items import Sent
from runtime.host.lane import Lane
from runtime.host.large import Large
from runtime.host.ports import OutboxRow
from runtime.host.tasks import Tasks

_log = logging.getLogger("troupe.outbox")

BATCH = 256
BATCH_BYTES = 16 * 1024**2
HEADERS_MARGIN = 1024
"""What is left of a message for the form that its headers have on the wire."""

RETRY_S = 0.5


class Outbox:
    """The senders of a pod's lanes. `sent` puts a Sent into the next batch; `large` keeps what no message can hold."""

    def __init__(self, publisher: Publisher, sent: Callable[[Sent], None], tasks: Tasks, large: Large) -> None:
        self._publisher = publisher
        self._large = large
        self._sent = sent
        self._tasks = tasks

    def kick(self, lane: Lane) -> None:
        """Sends what the lane has, if nothing of it is in flight."""
        if lane.sending or not lane.outbox or not lane.alive:
            return
        lane.sending = True
        self._tasks.start(self._drain(lane), f"sending the outbox of lane {lane.lane}")

    async def _drain(self, lane: Lane) -> None:
        try:
            while lane.outbox and lane.alive:
                rows = self._batch(lane)
                try:
                    acknowledged = await self._publisher.publish_all([await self._message(row) for row in rows])
                except (NotConnected, CallFailed) as error:
                    _log.warning("the outbox of lane %d waits: %s", lane.lane, error)
                    acknowledged = 0
                if acknowledged and lane.alive:
                    for _ in range(acknowledged):
                        lane.outbox.popleft()
                    self._sent(Sent(lane, rows[acknowledged - 1].ord))
                if acknowledged < len(rows):
                    await asyncio.sleep(RETRY_S)
        finally:
            lane.sending = False

    async def _message(self, row: OutboxRow) -> OutboxRow:
        if len(row.body) > self._limit and row.subject.startswith("cmd."):
            return await self._large.checked_in(row)
        return row

    @property
    def _limit(self) -> int:
        return self._publisher.max_bytes - HEADERS_MARGIN

    def _batch(self, lane: Lane) -> list[OutboxRow]:
        """The next rows to send; a fact too large for a message says so instead of what it holds."""
        limit = self._limit
        rows: list[OutboxRow] = []
        size = 0
        for row in islice(lane.outbox, BATCH):
            size += len(row.body)
            if rows and size > BATCH_BYTES:
                break
            oversized = len(row.body) > limit and row.subject.startswith("ev.")
            rows.append(too_large(row) if oversized else row)
        return rows
