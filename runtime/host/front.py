"""The plain request/reply front: `nats req call.<tenant>.<kind>.<key>.<method> '{…}'`.

A NATS service (ADR-32 of NATS, so `nats micro ls` shows it) that any pod answers: it stores the command like everybody
else, waits for the actor's answer on an inbox of the tenant, and passes it on. Queries go straight to the owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import nats.micro
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, Service, ServiceConfig

from runtime.client.connection import Connection, header_block
from runtime.errors import NotConnected
from runtime.host.answers import encode_reply
from runtime.kind import Kind, Read
from schemas import headers as names
from schemas.address import partition_of
from schemas.wire import Failure

REPLY_WITHIN_S = 30.0
_PASSED = (names.ID, names.DEADLINE, names.SESSION, names.CORRELATION, names.CAUSATION, names.CONTENT_TYPE,
           names.TRACEPARENT, names.PRINCIPAL, names.SIGNATURE)  # fmt: skip


class Front:
    """The service of one pod."""

    def __init__(self, connection: Connection, kinds: Mapping[str, Kind], partitions: int, version: str, token: str):
        self._connection = connection
        self._kinds = kinds
        self._partitions = partitions
        self._version = version
        self._token = token
        self._number = 0
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._service: Service | None = None

    async def open(self) -> None:
        """Registers the service."""
        await self._connection.subscribe_direct(f"_INBOX.*.{self._token}.*", self._on_reply)
        config = ServiceConfig(name="troupe", version=self._version, description="Calls to Troupe's actors")
        self._service = await nats.micro.add_service(self._connection, config)
        await self._service.add_endpoint(
            EndpointConfig(name="call", subject="call.*.*.*.*", handler=self._on_request)
        )

    async def close(self) -> None:
        """Withdraws the service."""
        if self._service is not None and self._connection.is_connected:
            await self._service.stop()
        for task in self._tasks:
            task.cancel()

    async def _on_request(self, request: Request) -> None:
        # The service calls handlers one after the other: waiting here would serve one caller at a time.
        task = asyncio.ensure_future(self._serve(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: Request) -> None:
        _, tenant, kind_name, token, method_name = request.subject.split(".")
        kind = self._kinds.get(kind_name)
        headers = {name: value for name, value in (request.headers or {}).items() if name in _PASSED}
        self._number += 1
        number = str(self._number)
        inbox = f"_INBOX.{tenant}.{self._token}.{number}"
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            if kind is not None and isinstance(kind.methods.get(method_name), Read):
                partition = partition_of(tenant, kind_name, token, self._partitions)
                subject = f"q.{partition}.{tenant}.{kind_name}.{token}.{method_name}"
                self._connection.post(subject, request.data, header_block(headers), reply=inbox)
            else:
                headers[names.REPLY] = inbox
                subject = f"cmd.{tenant}.{kind_name}.{token}.{method_name}"
                self._connection.post(subject, request.data, header_block(headers))
            async with asyncio.timeout(REPLY_WITHIN_S):
                body = await answer
        except TimeoutError:
            text = f"no answer within {REPLY_WITHIN_S:.0f} s; the command may still be processed: ask again with its id"
            body = encode_reply(headers.get(names.ID, ""), 0, b"null", Failure("timeout", text))
        except (NotConnected, ValueError) as error:
            body = encode_reply(headers.get(names.ID, ""), 0, b"null", Failure("unavailable", str(error)))
        finally:
            self._waiting.pop(number, None)
        if self._connection.is_connected:
            await request.respond(body)

    def _on_reply(self, subject: str, reply: str, body: bytes, block: bytes) -> None:
        answer = self._waiting.get(subject.rpartition(".")[2])
        if answer is None or answer.done():
            return
        if not body:  # a status of the broker's: nobody owns the partition right now
            body = encode_reply("", 0, b"null", Failure("unavailable", "nobody owns the actor just now: ask again"))
        answer.set_result(body)
