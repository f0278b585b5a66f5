"""A CMD stream as a whole: what it holds, single messages of it, and trimming."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import nats.errors
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from runtime.client.connection import Connection
from runtime.errors import NotConnected
from runtime.host.broker import StoredMessage, StreamState
from runtime.jetstream.reader import NO_MESSAGE, message_time, nanoseconds
from runtime.jetstream.streams import add_subjects
from schemas.subjects import CMD_STREAM


class JetStreamCommands:
    """The CommandStream port over one connection. `subjects` is what the stream must go on to take."""

    def __init__(self, connection: Connection, stream: str = CMD_STREAM, subjects: Sequence[str] = ()) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = subjects

    async def state(self) -> StreamState:
        with self._unavailable():
            info = await self._connection.jetstream(timeout=5).stream_info(self._stream)
            if not set(self._subjects) <= set(info.config.subjects or []):
                await add_subjects(self._connection, self._stream, self._subjects)
        state, max_bytes = info.state, info.config.max_bytes or 0
        return StreamState(state.first_seq, state.last_seq, state.messages, state.bytes, max(0, max_bytes))

    async def state_if_there(self) -> StreamState | None:
        """As `state`, and None when there is no such stream."""
        try:
            return await self.state()
        except NotConnected as error:
            if isinstance(error.__cause__, NotFoundError):
                return None
            raise

    async def message_time(self, seq: int) -> int | None:
        with self._unavailable():
            return await message_time(self._connection, seq, self._stream)

    async def next(self, subjects: str, seq: int) -> StoredMessage | None:
        request = msgspec.json.encode({"seq": seq, "next_by_subj": subjects})
        with self._unavailable():
            answer = await self._connection.request(f"$JS.API.STREAM.MSG.GET.{self._stream}", request, timeout=5)
            found = msgspec.json.decode(answer.data, type=_Found)
        if found.message is None:
            if found.error.get("err_code") != NO_MESSAGE:
                raise NotConnected(f"stream {self._stream} cannot be asked for {subjects}: {found.error}")
            return None
        stored = found.message
        return StoredMessage(stored.subject, stored.seq, nanoseconds(stored.time), stored.hdrs, stored.data)

    async def kinds(self) -> set[str]:
        kinds: set[str] = set()
        offset = 0
        while True:  # the broker gives a hundred thousand subjects at a time
            request = msgspec.json.encode({"subjects_filter": "p.>", "offset": offset})
            with self._unavailable():
                answer = await self._connection.request(f"$JS.API.STREAM.INFO.{self._stream}", request, timeout=30)
                found = msgspec.json.decode(answer.data)
            subjects = found.get("state", {}).get("subjects") or {}
            kinds |= {subject.split(".")[3] for subject in subjects}
            offset += len(subjects)
            if not subjects or offset >= found.get("total", 0):
                return kinds

    async def purge(self, upto: int) -> None:
        with self._unavailable():
            await self._connection.jetstream(timeout=30).purge_stream(self._stream, seq=upto)

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        """Whatever keeps the broker from answering, as NotConnected."""
        try:
            yield
        except (nats.errors.Error, JetStreamError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            text = f"the broker does not say what it was asked of stream {self._stream}: {error!r}"
            raise NotConnected(text) from error


async def oldest(connection: Connection, streams: Sequence[str]) -> int | None:
    """When the oldest message of some CMD streams was stored (Unix nanoseconds); None when they hold none.

    A stream that is not there yet holds none. Raises NotConnected.
    """
    found: list[int] = []
    for name in streams:
        stream = JetStreamCommands(connection, name)
        if (state := await stream.state_if_there()) is None or not state.messages:
            continue
        if (at := await stream.message_time(state.first_seq)) is None:
            raise NotConnected(f"the first message of stream {name} was purged as it was asked for")
        found.append(at)
    return min(found, default=None)


class _Message(msgspec.Struct):
    subject: str
    seq: int
    time: str
    hdrs: bytes = b""
    data: bytes = b""


class _Found(msgspec.Struct):
    message: _Message | None = None
    error: dict[str, Any] = {}
