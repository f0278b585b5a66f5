"""What a stream holds: its first and last sequence, and the messages of one subject behind a sequence.

Many may ask at once: those who ask what the stream holds while the broker is being asked share the next question, since
an answer under way may be older than their wish to know.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Literal, NamedTuple

import msgspec

from runtime.client.connection import Connection
from runtime.client.inbox import Inbox, NoResponders
from runtime.errors import TroupeError

API_TIMEOUT_S = 5.0
PAGE = 128
PAGE_BYTES = 512 * 1024
_NO_MESSAGE = 10037
"""The broker's code for: there is no such message."""


class StreamReset(TroupeError):
    """What follows the asked position is not in the stream, or no longer: read the log, then go on after `last`.

    `reason`: `behind` (older than the stream's first message), `ahead` (beyond its last one: the stream was made anew),
    or `recreated` (it was made anew while it was read).
    """

    def __init__(self, reason: Literal["behind", "ahead", "recreated"], after: int, first: int, last: int) -> None:
        super().__init__(f"position {after} is {reason}: the stream holds {first} to {last}; read the log, then go on")
        self.reason = reason
        self.after = after
        self.first = first
        self.last = last


class Entry(NamedTuple):
    """One message: its sequence in the stream, its header block and body, its subject."""

    sequence: int
    header: bytes
    body: bytes
    subject: str


class State(msgspec.Struct, frozen=True):
    """The sequences of a stream's first and last message."""

    first_seq: int
    last_seq: int


class ApiError(msgspec.Struct):
    """Why the broker refuses."""

    code: int = 500
    err_code: int = 0
    description: str = ""


class StreamInfo(msgspec.Struct):
    """What a stream holds, and when it was made."""

    created: str = ""
    state: State = State(0, 0)
    error: ApiError | None = None

    def check(self, after: int, created: str) -> None:
        """Raises StreamReset unless what follows `after` is here, in the stream made at `created` ('': in any)."""
        first, last = self.state.first_seq, self.state.last_seq
        if created not in ("", self.created):
            raise StreamReset("recreated", after, first, last)
        if after > last:
            raise StreamReset("ahead", after, first, last)
        # Nothing is missing behind 0 of a stream that never had more: only what a reader had seen can be lost to it.
        if 0 < after < first - 1:
            raise StreamReset("behind", after, first, last)


class _Message(msgspec.Struct):
    seq: int
    subject: str
    data: str = ""
    hdrs: str = ""


class _Found(msgspec.Struct):
    message: _Message | None = None
    error: ApiError | None = None


class StoredStream:
    """Questions to the broker about one stream. All raise NoResponders, TimeoutError or NotConnected."""

    def __init__(self, connection: Connection, inbox: Inbox, name: str) -> None:
        self.name = name
        self._connection = connection
        self._inbox = inbox
        self._asking: asyncio.Future[StreamInfo] | None = None
        self._next: asyncio.Future[StreamInfo] | None = None

    async def info(self) -> StreamInfo:
        """What the stream holds, by an answer that was asked for after this call."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._ask(self._asking))
            self._next.add_done_callback(_seen)
        return await asyncio.shield(self._next)

    async def _ask(self, former: asyncio.Future[StreamInfo] | None) -> StreamInfo:
        if former is not None:
            await asyncio.wait([former])
        self._asking, self._next = self._next, None
        return await self.ask()

    async def ask(self) -> StreamInfo:
        """The same, by a question of its own."""
        raw = await self._inbox.request(f"$JS.API.STREAM.INFO.{self.name}", b"", timeout_s=API_TIMEOUT_S)
        info = msgspec.json.decode(raw, type=StreamInfo)
        if info.error is not None:
            raise NoResponders(f"{self.name}: {info.error.description}")
        return info

    async def page(self, subject: str, after: int) -> list[Entry]:
        """The next messages of `subject` behind the sequence `after`; none only if the stream holds no more of them.

        The stream's leader says whether there is one: another replica, which may answer for the rest, may be behind it.
        """
        request = msgspec.json.encode({"seq": after + 1, "next_by_subj": subject})
        raw = await self._inbox.request(f"$JS.API.STREAM.MSG.GET.{self.name}", request, timeout_s=API_TIMEOUT_S)
        found = msgspec.json.decode(raw, type=_Found)
        if found.message is None:
            if found.error is not None and found.error.err_code == _NO_MESSAGE:
                return []
            raise NoResponders(f"{self.name}: {'no answer' if found.error is None else found.error.description}")
        one = found.message
        entries = [Entry(one.seq, base64.b64decode(one.hdrs), base64.b64decode(one.data), one.subject)]
        return entries + await self._direct(subject, one.seq)

    async def _direct(self, subject: str, after: int) -> list[Entry]:
        """Up to PAGE messages behind `after`, from any replica: perhaps not all that there are, but none left out."""
        entries: list[Entry] = []
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def receive(headers: bytes, body: bytes) -> None:
            if ended.done():
                return
            sequence = _number(headers, b"Nats-Sequence")
            if sequence is None:  # the end, or nothing there
                ended.set_result(None)
            elif _number(headers, b"Nats-Last-Sequence") not in (0, None, entries[-1].sequence if entries else 0):
                ended.set_result(None)  # one was lost on the way: the next page begins with it
            else:
                entries.append(Entry(sequence, headers, body, subject))

        target = self._inbox.expect(receive)
        request = {"seq": after + 1, "next_by_subj": subject, "batch": PAGE, "max_bytes": PAGE_BYTES}
        try:
            self._connection.post(
                f"$JS.API.DIRECT.GET.{self.name}", msgspec.json.encode(request), reply=target
            )
            async with asyncio.timeout(API_TIMEOUT_S):
                await ended
        except TimeoutError:
            pass  # what came is whole as far as it goes
        finally:
            self._inbox.forget(target)
        return entries


def _number(headers: bytes, name: bytes) -> int | None:
    """The value of the header that the broker added; what a publisher wrote under that name stands before it."""
    _, found, rest = headers.rpartition(b"\r\n" + name + b": ")
    return int(rest.partition(b"\r\n")[0]) if found else None


def _seen(asked: asyncio.Future[StreamInfo]) -> None:
    """Everybody who asked may be gone when it fails."""
    if not asked.cancelled():
        asked.exception()

