"""The events of one actor, from a sequence on and as they are committed.

Pods say after each commit how far each lane of the log has come; the reader asks again when the actor's own lane has
moved, so nothing is polled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from runtime.client.connection import Connection
from runtime.errors import CallFailed
from schemas.subjects import commits
from schemas.wire import LogEvent

PAGE = 500
LONGEST_PAUSE_S = 5.0

_decode_positions = msgspec.msgpack.Decoder(dict[int, int]).decode
_log = logging.getLogger("troupe.client")

Read = Callable[[int], Awaitable[list[LogEvent]]]
"""The actor's events from a sequence on, at most PAGE of them."""


class LogPage(msgspec.Struct):
    """What the service `log` answers."""

    events: list[LogEvent]


async def tail(
    connection: Connection, partition: int, partitions: int, from_seq: int, read: Read
) -> AsyncGenerator[LogEvent, None]:
    """The events with sequence `from_seq` and later, without end. Pods that are away are waited for."""
    moved = asyncio.Event()

    def on_commit(subject: str, reply: str, data: bytes, header: bytes) -> None:
        if not moved.is_set() and any(lane % partitions == partition for lane in _decode_positions(data)):
            moved.set()

    # Subscribed before the first read: what is committed after that read sets the event again.
    subscription = await connection.subscribe_direct(commits("*"), on_commit)
    connection.resumed.add(moved.set)
    pause_s = 0.1
    try:
        while True:
            moved.clear()
            try:
                events = await read(from_seq)
            except CallFailed as error:
                if error.code != "unavailable":
                    raise
                _log.warning("the log cannot be read now: %s", error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                moved.set()
                continue
            pause_s = 0.1
            for event in events:
                from_seq = event.seq + 1
                yield event
            if len(events) < PAGE:
                await moved.wait()
    finally:
        connection.resumed.discard(moved.set)
        if not connection.is_closed:
            await subscription.unsubscribe()
