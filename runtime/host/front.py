"""The plain request/reply front: `nats req call.<tenant>.<kind>.<key>.<method> '{…}'`.

A NATS service (ADR-32 of NATS, so `nats micro ls` shows it) that any pod answers, also for kinds it does not serve: it
stores the command like everybody else, waits for the actor's answer on an inbox of the tenant, and passes it on.
Queries go straight to the owner. What cannot become a command (a bad address, a kind that nobody ever served) is
refused before anything is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import nats.errors
import nats.micro
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, Service, ServiceConfig

from runtime.client.acknowledgement import outcome_of
from runtime.client.connection import Connection, MessageTooLarge, header_block
from runtime.errors import NotConnected
from runtime.host.answers import encode_reply, wants_msgpack
from runtime.host.desk import FULL, Desk
from runtime.host.ports import LogUnavailable
from runtime.kind import Kind, Read
from schemas import headers as names
from schemas import subjects
from schemas.address import Address, BadAddress, decode_token, partition_of
from schemas.errors import CODES
from schemas.wire import Capability, Failure, Reply

_log = logging.getLogger("troupe.front")

REPLY_WITHIN_S = 30.0
LOOK_AGAIN_S = 2.0
WITHDRAW_S = 2.0
REGISTER_S = 5.0
_ACKNOWLEDGED = "a"
_PASSED = (names.ID, names.DEADLINE, names.SESSION, names.CORRELATION, names.CAUSATION, names.CONTENT_TYPE,
           names.TRACEPARENT, names.PRINCIPAL, names.ROLES, names.SIGNATURE, names.TAGS, names.QUEUE_TIMEOUT,
           names.RUN_TIMEOUT, names.FORK)  # fmt: skip

Capabilities = Callable[[], Awaitable[list[Any]]]
"""What every kind that was ever registered can do, as the log keeps it."""


class Refused(Exception):
    """The request is answered with this failure, and nothing was stored."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(code, message)


class Registered:
    """Which kinds exist beside those that the pod serves, and which of their methods are queries; asked again after a
    while.
    """

    def __init__(
        self, served: Callable[[], Mapping[str, Kind]], capabilities: Capabilities, monotonic: Callable[[], float]
    ) -> None:
        self._served = served
        self._capabilities = capabilities
        self._monotonic = monotonic
        self._others: dict[str, Capability] = {}
        self._asked_at = float("-inf")

    async def is_query(self, kind: str, method: str) -> bool:
        """Whether the method reads. Raises Refused when there is no such kind."""
        own = self._served().get(kind)
        if own is not None:
            return isinstance(own.methods.get(method), Read)
        if self._monotonic() - self._asked_at > LOOK_AGAIN_S:
            try:
                found = msgspec.convert(await self._capabilities(), list[Capability])
            except LogUnavailable:
                return False  # it cannot be known now: a command that is stored waits for whoever serves it
            self._others = {capability.kind: capability for capability in found}
            self._asked_at = self._monotonic()
        other = self._others.get(kind)
        if other is None:
            raise Refused("unknown_kind", f"no pod serves the kind {kind!r}: check its name, or start a pod with it")
        return any(one.name == method and one.flavor == "query" for one in other.methods)


class _Waiting(NamedTuple):
    subject: str
    id: str
    answer: asyncio.Future[bytes]


class Front:
    """The service of one pod. `token` is what no other pod's inboxes have."""

    def __init__(
        self, connection: Connection, registered: Registered, partitions: int, version: str, token: str
    ) -> None:
        self._connection = connection
        self._registered = registered
        self._partitions = partitions
        self._version = version
        self._token = token
        self._number = 0
        self._waiting: dict[str, _Waiting] = {}
        self._desk = Desk()
        self._service: Service | None = None

    async def open(self) -> None:
        """Registers the service. Raises NotConnected."""
        config = ServiceConfig(name="troupe", version=self._version, description="Calls to Troupe's actors")
        try:
            async with asyncio.timeout(REGISTER_S):
                await self._connection.subscribe_direct(f"_INBOX.*.{self._token}.*", self._on_reply)
                self._service = await nats.micro.add_service(self._connection, config)
                await self._service.add_endpoint(
                    EndpointConfig(name="call", subject="call.*.*.*.*", handler=self._on_request)
                )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise NotConnected(f"the broker did not register the front for calls: {error!r}") from error

    async def close(self) -> None:
        """Withdraws the service; a broker that does not answer meanwhile hears of it by the end of the connection."""
        if self._service is not None and self._connection.is_connected:
            try:
                async with asyncio.timeout(WITHDRAW_S):
                    await self._service.stop()
            except (nats.errors.Error, OSError, TimeoutError) as error:
                _log.warning("the service was not withdrawn, and ends with its connection: %r", error)
        self._desk.close()

    async def _on_request(self, request: Request) -> None:
        # The service calls handlers one after the other: waiting here would serve one caller at a time.
        if self._desk.full:
            await self._respond(request, encode_reply("", 0, b"null", FULL), False)
        else:
            self._desk.serve(self._serve(request))

    async def _serve(self, request: Request) -> None:
        given = request.headers or {}
        headers = {name: value for name, value in given.items() if name in _PASSED or names.travels(name)}
        id, packed = headers.get(names.ID, ""), wants_msgpack(headers.get(names.CONTENT_TYPE))
        try:
            body = await self._call(request.subject, request.data, headers)
        except TimeoutError:
            text = f"no answer within {REPLY_WITHIN_S:.0f} s; it may still be processed: ask again with its id"
            body = encode_reply(id, 0, b"null", Failure("timeout", text), packed=packed)
        except NotConnected as error:
            body = encode_reply(id, 0, b"null", Failure("unavailable", str(error)), packed=packed)
        except MessageTooLarge as error:
            body = encode_reply(id, 0, b"null", Failure("too_large", str(error)), packed=packed)
        except ValueError as error:
            body = encode_reply(id, 0, b"null", Failure("bad_request", f"a header: {error}"), packed=packed)
        except Refused as refused:
            body = encode_reply(id, 0, b"null", refused.failure, packed=packed)
        await self._respond(request, body, packed)

    async def _call(self, subject: str, body: bytes, headers: dict[str, str]) -> bytes:
        """The encoded reply to a request."""
        address, method, token = _address_of(subject)
        query = await self._registered.is_query(address.kind, method)
        self._number += 1
        number = str(self._number)
        inbox = f"{subjects.inbox_prefix(address.tenant)}.{self._token}.{number}"
        target = subject.replace("call.", "cmd.", 1)
        waiting = _Waiting(target, headers.get(names.ID, ""), asyncio.get_running_loop().create_future())
        self._waiting[number] = waiting
        try:
            if query:
                partition = partition_of(address.tenant, address.kind, token, self._partitions)
                self._connection.post(
                    subjects.query(partition, address, method), body, header_block(headers), reply=inbox
                )
            else:
                headers = headers | {names.REPLY: inbox}
                self._connection.post(target, body, header_block(headers), reply=f"{inbox}{_ACKNOWLEDGED}")
            async with asyncio.timeout(REPLY_WITHIN_S):
                return await waiting.answer
        finally:
            del self._waiting[number]

    async def _respond(self, request: Request, body: bytes, packed: bool) -> None:
        """Answers; a failure is marked as ADR-32 has it, so that it is counted and other clients notice."""
        if not self._connection.is_connected:
            return
        decode = msgspec.msgpack.decode if packed else msgspec.json.decode
        error = decode(body, type=Reply).error
        if error is None:
            await request.respond(body)
        else:
            status = CODES[error.code].status if error.code in CODES else 500
            text = " ".join(error.message.split())
            await request.respond_error(str(status), f"{error.code}: {text}"[:500], body)

    def _on_reply(self, subject: str, reply: str, body: bytes, block: bytes) -> None:
        number = subject.rpartition(".")[2]
        waiting = self._waiting.get(number.removesuffix(_ACKNOWLEDGED))
        if waiting is None or waiting.answer.done():
            return
        if number.endswith(_ACKNOWLEDGED):
            error = outcome_of(waiting.subject, waiting.id, block, body).error
            if error is not None:
                waiting.answer.set_exception(Refused(error.code, str(error).removeprefix(f"{error.code}: ")))
        elif not body:  # a status of the broker's: nobody owns the partition right now
            waiting.answer.set_exception(Refused("unavailable", "nobody owns the actor just now: ask again"))
        else:
            waiting.answer.set_result(body)


def _address_of(subject: str) -> tuple[Address, str, str]:
    """(address, method, key token) of `call.<tenant>.<kind>.<key>.<method>`. Raises Refused."""
    _, tenant, kind, token, method = subject.split(".")
    try:
        address = Address(tenant, kind, decode_token(token))
        subjects.command(address, method)
    except BadAddress as error:
        raise Refused("bad_address", str(error)) from error
    return address, method, token
