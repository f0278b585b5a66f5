"""Sending what was committed: one batch in flight a lane, in order, until the broker has acknowledged it.

A message has a deterministic id, so sending it twice (after a take-over, or when an acknowledgement was lost) is
harmless: the receiving actor's inbox, or the reader of a session's stream, drops the second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from runtime.errors import NotConnected
from runtime.host.items import Sent
from runtime.host.lane import Lane
from runtime.host.ports import OutboxRow

_log = logging.getLogger("troupe.outbox")

BATCH = 256
RETRY_S = 0.5


class Publisher(Protocol):
    """Publishing with the broker's acknowledgement."""

    async def publish_all(self, rows: Sequence[OutboxRow]) -> int:
        """Publishes in order; gives how many from the start were acknowledged. Raises NotConnected."""


class Outbox:
    """The senders of a pod's lanes. `sent` puts a Sent into the next batch."""

    def __init__(self, publisher: Publisher, sent: Callable[[Sent], None]) -> None:
        self._publisher = publisher
        self._sent = sent
        self._tasks: set[asyncio.Task[None]] = set()

    def kick(self, lane: Lane) -> None:
        """Sends what the lane has, if nothing of it is in flight."""
        if lane.sending or not lane.outbox or not lane.alive:
            return
        lane.sending = True
        task = asyncio.ensure_future(self._drain(lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, lane: Lane) -> None:
        try:
            while lane.outbox and lane.alive:
                rows = [lane.outbox[n] for n in range(min(BATCH, len(lane.outbox)))]
                try:
                    acknowledged = await self._publisher.publish_all(rows)
                except NotConnected as error:
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
