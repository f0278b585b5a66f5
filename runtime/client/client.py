"""The client: calling actors, and watching what comes of it, from any process that reaches NATS.

async with await Client.connect() as client:
    balance = await client.ask(account, "alice", Withdraw(30), type=int)
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import msgspec

from runtime.arguments import encode_json
from runtime.client import connection as connections
from runtime.client.calls import END, Calls
from runtime.client.connection import Connection
from runtime.client.store import store
from runtime.clock import Clock, system_clock
from runtime.errors import CallFailed, Rejected
from runtime.turn import method_and_payload
from schemas import headers as h
from schemas import subjects
from schemas.address import Address, BadAddress
from schemas.wire import Failure

if TYPE_CHECKING:
    from types import TracebackType

    from runtime.kind import Kind

DEFAULT_URL = "nats://127.0.0.1:4222"
DEFAULT_TIMEOUT_S = 30.0


class Client:
    """Speaks for one tenant. Made by `Client.connect`, or from another client by `for_tenant`.

    Every method that takes `kind` takes the kind itself or its name, and `command` is a command object of that kind or
    a method's name with `args` beside it. Failures are Rejected (the actor said no), CallFailed (see
    schemas.errors.CODES) or NotConnected.
    """

    def __init__(self, connection: Connection, tenant: str, clock: Clock = system_clock) -> None:
        """Use `Client.connect`. `connection` is shared and stays open when this client is closed."""
        self.connection = connection
        self.tenant = tenant
        self._clock = clock
        self._calls = Calls(connection, tenant, clock.token(8), self._on_silence)
        self._inbox = self._calls.inbox
        self._owned: Connection | None = None

    @classmethod
    async def connect(
        cls,
        url: str | None = None,
        tenant: str | None = None,
        *,
        name: str = "troupe-client",
        connect_timeout_s: float = 5.0,
        clock: Clock = system_clock,
        **options: Any,
    ) -> Client:
        """A client with a connection of its own.

        Args:
            url: NATS servers, separated by commas; else RUNTIME_NATS_URL, else nats://127.0.0.1:4222.
            tenant: whose actors; else RUNTIME_TENANT, else `default`.
            name: how the broker's monitoring shows this client.
            connect_timeout_s: seconds in all until NotConnected is raised.
            options: further options of nats-py's connect (credentials, TLS).
        """
        tenant = tenant or os.environ.get("RUNTIME_TENANT") or "default"
        connection = await connections.connect(
            url or os.environ.get("RUNTIME_NATS_URL") or DEFAULT_URL,
            name=name,
            inbox_prefix=subjects.inbox_prefix(tenant),
            connect_timeout_s=connect_timeout_s,
            **options,
        )
        client = cls(connection, tenant, clock)
        client._owned = connection
        await client.open()
        return client

    async def open(self) -> None:
        """Begins to listen for replies; `connect` and `for_tenant` have done it."""
        await self._inbox.open()

    async def for_tenant(self, tenant: str) -> Client:
        """A client for another tenant over the same connection; close it before this one."""
        client = type(self)(self.connection, tenant, self._clock)
        await client.open()
        return client

    async def close(self) -> None:
        """Fails what is still in flight, and closes the connection if this client made it."""
        self._calls.close()
        if self._owned is not None:
            await self._owned.close()
        else:
            await self._inbox.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def ask(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        type: Any = Any,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        id: str | None = None,
        session: str | None = None,
        correlation_id: str | None = None,
        deadline_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Sends a command and waits for its result, decoded to `type`.

        Args:
            timeout_s: how long to wait, in seconds. The command may still be processed after that.
            id: the command's id; asking again with the same one gives the recorded answer.
            session: the session whose watchers see what comes of it.
            correlation_id: one id for everything that follows from one request.
            deadline_s: seconds from now after which the command is no longer wanted, and not processed.
            headers: further headers, such as `traceparent`.
        """
        subject, body = self._command(kind, key, command, args)
        if session is None and correlation_id is None and deadline_s is None and headers is None:
            tail = END
        else:
            tail = self._tail(session, correlation_id, deadline_s, headers)
        reply = await self._calls.call(subject, body, tail, timeout_s, id and checked_id(id))
        if reply.error is not None:
            raise error_of(reply.error)
        return decode_as(reply.result, type)

    async def tell(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        session: str | None = None,
        correlation_id: str | None = None,
        deadline_s: float | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> str:
        """Sends a command without waiting for the actor, and returns its id once the broker has stored it."""
        subject, body = self._command(kind, key, command, args)
        id = checked_id(id) if id is not None else self._calls.new_id()
        block = f"NATS/1.0\r\n{h.ID}: {id}".encode() + self._tail(session, correlation_id, deadline_s, headers)
        await store(self.connection, self._inbox, subject, body, block, id=id, timeout_s=timeout_s)
        return id

    def _command(self, kind: Kind | str, key: str, command: Any, args: Any) -> tuple[str, bytes]:
        """(subject, body) of a command."""
        if command.__class__ is str and kind.__class__ is str:
            payload = args
            subject = _subject(self.tenant, kind, key, command)
        else:
            name, method, payload = method_and_payload(kind, command, args)
            subject = _subject(self.tenant, name, key, method)
        return subject, encode_body(payload)

    def _tail(
        self,
        session: str | None,
        correlation_id: str | None,
        deadline_s: float | None,
        headers: dict[str, str] | None,
    ) -> bytes:
        """The end of a header block, after the id's value."""
        lines = dict(headers) if headers else {}
        if session is not None:
            subjects.events(self.tenant, session)
            lines[h.SESSION] = session
        if correlation_id is not None:
            lines[h.CORRELATION] = checked_id(correlation_id)
        if deadline_s is not None:
            lines[h.DEADLINE] = str(int((self._clock.now() + deadline_s) * 1000))
        try:
            block = connections.header_block(lines)
        except (ValueError, UnicodeEncodeError) as error:
            raise CallFailed("bad_request", f"a header cannot be sent: {error}") from error
        return b"\r\n" + block[len(b"NATS/1.0\r\n") :] if block else END

    def _on_silence(self, subject: str) -> None:
        """No reply came to a command on `subject` within a second."""


@lru_cache(maxsize=65_536)
def _subject(tenant: str, kind: str, key: str, method: str) -> str:
    try:
        return subjects.command(Address(tenant, kind, key), method)
    except BadAddress as error:
        raise CallFailed("bad_address", str(error)) from error


def checked_id(id: str) -> str:
    """`id` when it can be a command's id; raises CallFailed otherwise."""
    if not h.is_id(id):
        raise CallFailed(
            "bad_request", f"{id[:80]!r} cannot be an id: use 1 to {h.MAX_ID_LENGTH} printable ASCII characters"
        )
    return id


def encode_body(payload: Any) -> bytes:
    """A payload as a command's body; None is the empty body. Raises CallFailed."""
    if payload is None:
        return b""
    try:
        return encode_json(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise CallFailed("invalid_arguments", f"the arguments have no JSON form: {error}") from error


def error_of(failure: Failure) -> Rejected | CallFailed:
    """The exception that a failure in a reply becomes."""
    if failure.code == "rejected":
        return Rejected(failure.message, failure.details)
    return CallFailed(failure.code, failure.message, path=failure.path, details=failure.details)


_decode_any = msgspec.json.Decoder(Any).decode


def decode_as(result: msgspec.Raw, type: Any) -> Any:
    """A result as the type that the caller expects. Raises CallFailed (bad_result) when it is something else."""
    if type is Any:
        return _decode_any(result)
    try:
        if hasattr(type, "model_validate_json"):
            return type.model_validate_json(bytes(result))
        return _decoder(type).decode(result)
    except (msgspec.DecodeError, ValueError) as error:
        raise CallFailed("bad_result", f"the result is not what the caller expects: {error}") from error


@lru_cache(maxsize=1024)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)
