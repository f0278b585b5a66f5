"""Publishing to streams with the broker's acknowledgement, many at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from runtime.client.connection import Connection, MessageTooLarge, header_block
from runtime.host.ports import OutboxRow

_log = logging.getLogger("troupe.publisher")

ACK_TIMEOUT_S = 5.0
_headers = msgspec.json.Decoder(dict[str, str])


class JetStreamPublisher:
    """Publishes outbox rows. One inbox for all acknowledgements."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = connection.new_inbox()
        self._waiting: dict[str, asyncio.Future[str | None]] = {}
        self._number = 0

    async def open(self) -> None:
        """Subscribes to the acknowledgements."""
        await self._connection.subscribe_direct(f"{self._inbox}.*", self._on_ack)

    async def publish_all(self, rows: Sequence[OutboxRow]) -> int:
        """Publishes in order; gives how many from the start were acknowledged. Raises NotConnected."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[str | None]] = []
        names: list[str] = []
        try:
            for row in rows:
                self._number += 1
                name = str(self._number)
                future: asyncio.Future[str | None] = loop.create_future()
                self._waiting[name] = future
                names.append(name)
                futures.append(future)
                self._post(row, name, future)
            await asyncio.wait(futures, timeout=ACK_TIMEOUT_S)
        finally:
            for name in names:
                self._waiting.pop(name, None)
        for count, future in enumerate(futures):
            if not future.done():
                return count
            if (problem := future.result()) is not None:
                _log.warning("%s was not stored: %s", rows[count].subject, problem)
                return count
        return len(rows)

    def _post(self, row: OutboxRow, name: str, future: asyncio.Future[str | None]) -> None:
        headers = _headers.decode(row.headers)
        try:
            self._connection.post(row.subject, row.body, header_block(headers), reply=f"{self._inbox}.{name}")
        except MessageTooLarge:
            # Waiting cannot make it smaller, and it must not hold up what comes behind it.
            _log.error("a message to %s is larger than the broker takes and is not sent", row.subject)
            future.set_result(None)

    def _on_ack(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        future = self._waiting.pop(subject.rpartition(".")[2], None)
        if future is None or future.done():
            return
        if not body:
            future.set_result("no stream takes this subject")
            return
        error = msgspec.json.decode(body).get("error")
        future.set_result(None if error is None else str(error.get("description", error)))


