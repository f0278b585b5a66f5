"""Commands in flight: sent, sent again while nobody answers, answered, or given up.

The first send asks no acknowledgement of the broker, since the reply is awaited anyway; repeats carry the same id, so
that the actor answers without doing it twice, and do ask for one, so that a stream that is full or missing becomes an
error that says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from weakref import WeakValueDictionary

import msgspec

from runtime.client.acknowledgement import outcome_of
from runtime.client.connection import Connection
from runtime.client.inbox import Inbox
from runtime.client.timers import Timers
from runtime.errors import CallFailed, NotConnected, TroupeError
from schemas import headers
from schemas.wire import Reply

FIRST_REPEAT_S = 1.0
LONGEST_REPEAT_S = 5.0
END = b"\r\n\r\n"

_log = logging.getLogger("troupe.client")
_decode_one = msgspec.json.Decoder(Reply).decode
_decode_many = msgspec.json.Decoder(list[Reply]).decode


class Call:
    """One command in flight."""

    __slots__ = (
        "acknowledgement",
        "answer",
        "body",
        "deadline",
        "delay_s",
        "header",
        "id",
        "sent",
        "stored",
        "subject",
        "trouble",
    )

    def __init__(
        self, id: str, subject: str, header: bytes, body: bytes, deadline: float, answer: asyncio.Future[Reply]
    ) -> None:
        self.id = id
        self.subject = subject
        self.header = header
        self.body = body
        self.deadline = deadline
        self.answer = answer
        self.delay_s = FIRST_REPEAT_S
        self.sent = False
        self.stored = False
        self.acknowledgement: str | None = None
        self.trouble: CallFailed | None = None


class Watch:
    """Somebody who would like to see the reply to a command, if it comes here."""

    __slots__ = ("__weakref__", "reply")

    def __init__(self) -> None:
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()


class Calls:
    """All commands of one client that wait for their replies.

    `silent` is told a command's subject when no reply came within `FIRST_REPEAT_S`.
    """

    def __init__(self, connection: Connection, tenant: str, nonce: str, silent: Callable[[str], None]) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._timers: Timers[Call] = Timers(self._due)
        self._pending: dict[str, Call] = {}
        self._watches: WeakValueDictionary[str, Watch] = WeakValueDictionary()
        self._silent = silent
        self._nonce = nonce
        self._number = 0
        self._closed = False
        self.inbox = Inbox(connection, tenant, nonce, self._on_replies)
        self._prefix = (
            f"NATS/1.0\r\n{headers.REPLY}: {self.inbox.subject}\r\n"
            f"{headers.REPLY_MODE}: {headers.BATCH_REPLIES}\r\n{headers.ID}: "
        ).encode()
        connection.resumed.add(self._resume)

    def new_id(self) -> str:
        """An id that no other command has."""
        self._number += 1
        return f"{self._nonce}-{self._number}"

    async def call(
        self, subject: str, body: bytes, id: str, tail: bytes, timeout_s: float, *, own_subject: bool
    ) -> Reply:
        """The reply to one command. `tail` ends its header block: further lines and the empty one.

        An id that is not of `new_id()` may be in use for another actor at the same time: it needs a reply subject of
        its own, which keeps the replies apart.

        Raises CallFailed when there is no reply within `timeout_s` seconds, or NotConnected when that is because the
        broker could not be reached. A reply that holds a failure is a reply.
        """
        if self._closed:
            raise NotConnected("the client is closed")
        answer: asyncio.Future[Reply] = self._loop.create_future()
        if own_subject:
            slot = self.inbox.expect(partial(self._on_single, answer))
            header = f"NATS/1.0\r\n{headers.REPLY}: {slot}\r\n{headers.ID}: {id}".encode() + tail
        else:
            slot = id
            header = self._prefix + id.encode() + tail
        call = Call(id, subject, header, body, self._loop.time() + timeout_s, answer)
        self._pending[slot] = call
        timers: dict[Call, None] = {}
        try:
            if self._connection.is_connected:
                self._connection.post(subject, body, call.header)
                call.sent = True
            timers = self._timers.add(min(FIRST_REPEAT_S, timeout_s), call)
            return await answer
        finally:
            self._pending.pop(slot, None)
            timers.pop(call, None)  # all calls of a second, kept until then, would take more memory than caches hold
            if own_subject:
                self.inbox.forget(slot)
            if call.acknowledgement is not None:
                self.inbox.forget(call.acknowledgement)

    def header(self, id: str, tail: bytes) -> bytes:
        """The header block of a command with an id of `new_id()` whose reply comes to the shared inbox."""
        return self._prefix + id.encode() + tail

    def watch(self, id: str) -> Watch:
        """Shows the reply to the command `id` of `new_id()` to whoever keeps the Watch."""
        watch = Watch()
        self._watches[id] = watch
        return watch

    def fail_kind(self, prefix: str, failure: Callable[[str], CallFailed]) -> None:
        """Fails the silent calls whose subject begins with `prefix`; `failure` makes the error from a command's id."""
        for call in list(self._pending.values()):
            if call.subject.startswith(prefix) and call.delay_s > FIRST_REPEAT_S and not call.answer.done():
                call.answer.set_exception(failure(call.id))

    def give_up(self) -> None:
        """Ends all waiting now, as if its time were over."""
        for call in list(self._pending.values()):
            if not call.answer.done():
                call.answer.set_exception(self._given_up(call))

    def close(self) -> None:
        """Fails what is still in flight."""
        self._closed = True
        self._connection.resumed.discard(self._resume)
        self._timers.close()
        for call in list(self._pending.values()):
            if not call.answer.done():
                call.answer.set_exception(
                    NotConnected(f"the client was closed before command {call.id!r} was answered")
                )

    def _on_replies(self, data: bytes) -> None:
        try:
            replies = _decode_many(data) if data[:1] == b"[" else (_decode_one(data),)
        except (msgspec.DecodeError, UnicodeDecodeError):
            _log.warning("a reply is not readable and was dropped: %r", data[:200])
            return
        for reply in replies:
            call = self._pending.pop(reply.id, None)
            if call is not None:
                if not call.answer.done():
                    call.answer.set_result(reply)
            elif (watch := self._watches.pop(reply.id, None)) is not None and not watch.reply.done():
                watch.reply.set_result(reply)

    def _on_single(self, answer: asyncio.Future[Reply], _: bytes, data: bytes) -> None:
        if answer.done():
            return
        try:
            reply = _decode_many(data)[0] if data[:1] == b"[" else _decode_one(data)
        except (msgspec.DecodeError, UnicodeDecodeError, IndexError):
            _log.warning("a reply is not readable and was dropped: %r", data[:200])
            return
        answer.set_result(reply)

    def _due(self, call: Call) -> None:
        if call.answer.done():
            return
        remaining = call.deadline - self._loop.time()
        if remaining <= 0:
            call.answer.set_exception(self._given_up(call))
            return
        first = call.delay_s == FIRST_REPEAT_S
        if self._connection.is_connected:
            self._repeat(call)
        call.delay_s = min(call.delay_s * 2, LONGEST_REPEAT_S)
        self._timers.add(min(call.delay_s, remaining), call)
        if first:
            self._silent(call.subject)

    def _repeat(self, call: Call) -> None:
        if call.acknowledgement is None:
            call.acknowledgement = self.inbox.expect(partial(self._on_acknowledgement, call))
        try:
            self._connection.post(call.subject, call.body, call.header, call.acknowledgement)
            call.sent = True
        except TroupeError as error:
            if not call.answer.done():
                call.answer.set_exception(error)

    def _on_acknowledgement(self, call: Call, header: bytes, data: bytes) -> None:
        outcome = outcome_of(call.subject, call.id, header, data)
        call.trouble = outcome.error
        call.stored = call.stored or outcome.error is None
        if outcome.error is not None and not outcome.passing and not call.answer.done():
            call.answer.set_exception(outcome.error)

    def _resume(self) -> None:
        for call in list(self._pending.values()):
            if not call.answer.done():
                self._repeat(call)

    def _given_up(self, call: Call) -> TroupeError:
        if not self._connection.is_connected:
            fate = "may have been stored: ask again with its id" if call.sent else "was not sent"
            return NotConnected(f"NATS cannot be reached; command {call.id!r} to {call.subject} {fate}")
        if call.trouble is not None:
            return call.trouble
        fate = "it is stored and may" if call.stored else "it may be stored and"
        return CallFailed(
            "timeout",
            f"command {call.id!r} to {call.subject} was not answered in time; {fate} still be processed: "
            "ask again with its id",
            details={"id": call.id, "stored": call.stored},
        )
