"""What a command carries beside its address and arguments, and how it gets into the message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from runtime.client.calls import END
from runtime.client.connection import Connection, header_block
from runtime.client.failures import address_checked, checked_id
from runtime.client.objects import MESSAGE_MARGIN_BYTES, Objects, digest_of
from runtime.clock import Clock
from runtime.errors import CallFailed
from runtime.sent import MAX_DUE_AT
from schemas import headers, subjects
from schemas.runs import RUN_HEADERS
from schemas.signature import join_roles, sign

SIGNATURE_MARGIN_S = 300.0
"""How much longer than its call a signature holds, for clocks that differ."""

_HEADER_LINE_LENGTH = len(b"NATS/1.0\r\n")


class Envelope(NamedTuple):
    """What a command carries beside its address and arguments.

    session: the session whose watchers see what comes of it.
    correlation_id: one id for everything that follows from one request.
    deadline_s: seconds from now after which the command is no longer wanted, and not processed.
    delay_s, start_at: seconds from now, or a Unix time, before which the command has no turn; one of them.
    priority: of runs that wait for a permit of their function (Limits), higher ones go first; -100 to 100.
    headers: further headers, such as `traceparent`.
    tags: words to find the run by (schemas.runs.tags_of).
    queue_timeout_s: a run that has not begun by then is ended as expired.
    run_timeout_s: a run that has not ended by then is: over all its attempts, and the time that it waits.
    principal: who asks; pods believe it only with a signature, which clients with a signing key add.
    roles: the principal's; believed as it is.
    """

    session: str | None = None
    correlation_id: str | None = None
    deadline_s: float | None = None
    headers: dict[str, str] | None = None
    principal: str | None = None
    roles: tuple[str, ...] = ()
    delay_s: float | None = None
    start_at: float | None = None
    priority: int = 0
    tags: Sequence[str] = ()
    queue_timeout_s: float | None = None
    run_timeout_s: float | None = None

    def traced(self, traceparent: str) -> Envelope:
        """The same with this trace context."""
        return self._replace(headers={**(self.headers or {}), headers.TRACEPARENT: traceparent})


class Fields(TypedDict, total=False):
    """The fields of Envelope as keyword arguments."""

    session: str | None
    correlation_id: str | None
    deadline_s: float | None
    headers: dict[str, str] | None
    principal: str | None
    roles: tuple[str, ...]
    delay_s: float | None
    start_at: float | None
    priority: int
    tags: Sequence[str]
    queue_timeout_s: float | None
    run_timeout_s: float | None


PLAIN = Envelope()


class Packing:
    """Makes messages of one tenant's commands."""

    def __init__(self, connection: Connection, tenant: str, clock: Clock, signing_key: bytes | None) -> None:
        self._connection = connection
        self._tenant = tenant
        self._clock = clock
        self._signing_key = signing_key
        self._objects = Objects(connection)

    def fits(self, body: bytes) -> bool:
        """Whether `body` goes into a message."""
        return len(body) <= self._connection.max_payload - MESSAGE_MARGIN_BYTES

    async def pack(
        self, subject: str, id: str, body: bytes, envelope: Envelope, timeout_s: float
    ) -> tuple[bytes, bytes]:
        """(body of the message, end of its header block after the id's value).

        A body that does not fit into a message is put into the object store. Raises CallFailed.
        """
        lines = self._lines(envelope)
        if envelope.principal is not None:
            lines[headers.PRINCIPAL] = envelope.principal
            roles = _roles(envelope.roles) if envelope.roles else ""
            if roles:
                lines[headers.ROLES] = roles
            if self._signing_key is not None:
                lines[headers.SIGNATURE] = sign(
                    self._signing_key,
                    subject=subject,
                    id=id,
                    body=body,
                    principal=envelope.principal,
                    roles=roles,
                    expires_at=self._clock.now() + timeout_s + SIGNATURE_MARGIN_S,
                )
        if not self.fits(body):
            # The name is not the id: another command with the same id must not change this one's body.
            name = f"{self._tenant}/{self._clock.token(16)}"
            await self._objects.put(name, body)
            lines[headers.OBJECT] = name
            body = digest_of(body)
        try:
            block = header_block(lines)
        except (ValueError, UnicodeEncodeError) as error:
            raise CallFailed("bad_request", f"a header cannot be sent: {error}") from error
        return body, b"\r\n" + block[_HEADER_LINE_LENGTH:] if block else END

    def _lines(self, envelope: Envelope) -> dict[str, str]:
        lines = dict(envelope.headers) if envelope.headers else {}
        if envelope.session is not None:
            with address_checked():
                subjects.events(self._tenant, envelope.session)
            if envelope.session != envelope.session.strip():
                raise CallFailed("bad_address", "the session begins or ends with a space, which a header cannot carry")
            lines[headers.SESSION] = envelope.session
        if envelope.correlation_id is not None:
            lines[headers.CORRELATION] = checked_id(envelope.correlation_id)
        if envelope.deadline_s is not None:
            lines[headers.DEADLINE] = str(int((self._clock.now() + envelope.deadline_s) * 1000))
        if envelope.priority:
            lines[headers.PRIORITY] = str(envelope.priority)
        if envelope.delay_s is not None or envelope.start_at is not None:
            lines[headers.START_AT] = str(int(self._start_at(envelope) * 1000))
        if envelope.tags:
            lines[headers.TAGS] = ",".join(envelope.tags)
        for name, seconds in (
            (headers.QUEUE_TIMEOUT, envelope.queue_timeout_s),
            (headers.RUN_TIMEOUT, envelope.run_timeout_s),
        ):
            if seconds is not None:
                lines[name] = f"{seconds:.3f}"
        for name in lines.keys() & RUN_HEADERS.keys():
            try:
                RUN_HEADERS[name](lines[name])
            except ValueError as error:
                raise CallFailed("bad_request", f"{name}: {error}") from error
        return lines

    def _start_at(self, envelope: Envelope) -> float:
        if envelope.start_at is not None and envelope.delay_s is not None:
            raise CallFailed("bad_request", "a command starts after delay_s seconds or at start_at: give one of them")
        at = envelope.start_at if envelope.start_at is not None else self._clock.now() + (envelope.delay_s or 0.0)
        if not 0 <= at <= MAX_DUE_AT:
            raise CallFailed("bad_request", f"a command starts between the years 1970 and 9999, not at {at!r}")
        return at


def _roles(roles: tuple[str, ...]) -> str:
    try:
        return join_roles(roles)
    except ValueError as error:
        raise CallFailed("bad_request", str(error)) from error
