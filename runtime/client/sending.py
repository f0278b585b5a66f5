"""How a command of a client gets out: packed into a message, traced, and sent for its reply or stored."""

from __future__ import annotations

from collections.abc import Awaitable

from runtime.client import tracing
from runtime.client.calls import END, Calls
from runtime.client.connection import Connection
from runtime.client.envelope import PLAIN, Envelope, Packing
from runtime.client.failures import checked_id
from runtime.client.quota import Quota
from runtime.client.store import store
from schemas import headers as h
from schemas.wire import Reply


class Sending:
    """The way out of one client."""

    def __init__(self, connection: Connection, calls: Calls, packing: Packing, quota: Quota) -> None:
        self._connection = connection
        self._calls = calls
        self._quota = quota
        self._packing = packing

    def fits(self, body: bytes) -> bool:
        """Whether `body` goes into a message."""
        return self._packing.fits(body)

    def call(
        self, subject: str, body: bytes, timeout_s: float, id: str | None, envelope: Envelope
    ) -> Awaitable[Reply]:
        """The reply to a command, whatever it says; without an `id` it gets a new one.

        Raises CallFailed (too_many_requests) at once when too much of the tenant waits.
        """
        if self._quota.full:
            self._quota.check(subject)
        given = id is not None
        id = checked_id(id) if id is not None else self._calls.new_id()
        if tracing.active is not None:
            return self._traced(tracing.active, subject, body, timeout_s, id, envelope, given)
        if envelope is PLAIN and self._packing.fits(body):
            # No coroutine around it: thousands of calls wait at a time, and each is as deep as what has to be woken.
            return self._calls.call(subject, body, id, END, timeout_s, own_subject=given)
        return self._packed(subject, body, timeout_s, id, envelope, given)

    async def publish(
        self, subject: str, id: str, body: bytes, envelope: Envelope, timeout_s: float, *, watched: bool
    ) -> None:
        """Stores a message; `watched`: its reply comes to the shared inbox. Raises as `call` does."""
        if self._quota.full:
            self._quota.check(subject)
        if tracing.active is None:
            await self._store(subject, id, body, envelope, timeout_s, watched)
            return
        with tracing.active.span("publish", subject, id, envelope.headers) as span:
            await self._store(subject, id, body, envelope.traced(span.traceparent), timeout_s, watched)

    async def _traced(
        self,
        active: tracing.Tracing,
        subject: str,
        body: bytes,
        timeout_s: float,
        id: str,
        envelope: Envelope,
        given: bool,
    ) -> Reply:
        with active.span("ask", subject, id, envelope.headers) as span:
            reply = await self._packed(subject, body, timeout_s, id, envelope.traced(span.traceparent), given)
            if reply.error is not None:
                span.failed(reply.error.code)
            return reply

    async def _packed(
        self, subject: str, body: bytes, timeout_s: float, id: str, envelope: Envelope, given: bool
    ) -> Reply:
        body, tail = await self._packing.pack(subject, id, body, envelope, timeout_s)
        return await self._calls.call(subject, body, id, tail, timeout_s, own_subject=given)

    async def _store(
        self, subject: str, id: str, body: bytes, envelope: Envelope, timeout_s: float, watched: bool
    ) -> None:
        body, tail = await self._packing.pack(subject, id, body, envelope, timeout_s)
        block = self._calls.header(id, tail) if watched else f"NATS/1.0\r\n{h.ID}: {id}".encode() + tail
        await store(self._connection, self._calls.inbox, subject, body, block, id=id, timeout_s=timeout_s)
