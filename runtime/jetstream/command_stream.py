"""Stream CMD as a whole: what it holds, single messages of it, and trimming."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import nats.errors
from nats.js.errors import Error as JetStreamError

from runtime.client.connection import Connection
from runtime.errors import NotConnected
from runtime.host.broker import StoredMessage, StreamState
from runtime.jetstream.reader import NO_MESSAGE, message_time, nanoseconds
from schemas.subjects import CMD_STREAM


class JetStreamCommands:
    """The CommandStream port over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def state(self) -> StreamState:
        with _unavailable():
            info = await self._connection.jetstream(timeout=5).stream_info(CMD_STREAM)
        state, max_bytes = info.state, info.config.max_bytes or 0
        return StreamState(state.first_seq, state.last_seq, state.messages, state.bytes, max(0, max_bytes))

    async def message_time(self, seq: int) -> int | None:
        with _unavailable():
            return await message_time(self._connection, seq)

    async def next(self, subjects: str, seq: int) -> StoredMessage | None:
        request = msgspec.json.encode({"seq": seq, "next_by_subj": subjects})
        with _unavailable():
            answer = await self._connection.request(f"$JS.API.STREAM.MSG.GET.{CMD_STREAM}", request, timeout=5)
            found = msgspec.json.decode(answer.data, type=_Found)
        if found.message is None:
            if found.error.get("err_code") != NO_MESSAGE:
                raise NotConnected(f"stream {CMD_STREAM} cannot be asked for {subjects}: {found.error}")
            return None
        stored = found.message
        return StoredMessage(stored.subject, stored.seq, nanoseconds(stored.time), stored.hdrs, stored.data)

    async def kinds(self) -> set[str]:
        kinds: set[str] = set()
        offset = 0
        while True:  # the broker gives a hundred thousand subjects at a time
            request = msgspec.json.encode({"subjects_filter": "p.>", "offset": offset})
            with _unavailable():
                answer = await self._connection.request(f"$JS.API.STREAM.INFO.{CMD_STREAM}", request, timeout=30)
                found = msgspec.json.decode(answer.data)
            subjects = found.get("state", {}).get("subjects") or {}
            kinds |= {subject.split(".")[3] for subject in subjects}
            offset += len(subjects)
            if not subjects or offset >= found.get("total", 0):
                return kinds

    async def purge(self, upto: int) -> None:
        with _unavailable():
            await self._connection.jetstream(timeout=30).purge_stream(CMD_STREAM, seq=upto)


class _Message(msgspec.Struct):
    subject: str
    seq: int
    time: str
    hdrs: bytes = b""
    data: bytes = b""


class _Found(msgspec.Struct):
    message: _Message | None = None
    error: dict[str, Any] = {}


@contextmanager
def _unavailable() -> Iterator[None]:
    """Whatever keeps the broker from answering, as NotConnected."""
    try:
        yield
    except (nats.errors.Error, JetStreamError, OSError, TimeoutError, msgspec.MsgspecError) as error:
        raise NotConnected(f"the broker does not say what it was asked of stream {CMD_STREAM}: {error!r}") from error
