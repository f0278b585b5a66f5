"""A caller in plain nats-py, as docs/protocol.md describes one: publish, wait for the reply, publish again."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Self

import msgspec
import nats
import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.errors import Error as JetStreamError

from schemas.address import Address
from schemas.wire import Reply

REPEAT_S = 1.0
ACK_S = 2.0


class RawCaller:
    """Calls actors of any tenant."""

    def __init__(self, connection: Nats) -> None:
        self._connection = connection
        self._js = connection.jetstream(timeout=ACK_S)
        self._nonce = secrets.token_hex(8)
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._number = 0

    @classmethod
    async def connect(cls, url: str, tenants: tuple[str, ...]) -> Self:
        """A caller with a connection of its own."""

        async def ignore(error: Exception) -> None:
            """The broker is killed on purpose."""

        connection = await nats.connect(
            url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=ignore, ping_interval=2,
            max_outstanding_pings=2,
        )  # fmt: skip
        caller = cls(connection)
        for tenant in tenants:
            await connection.subscribe(f"{caller._inbox(tenant)}.*", cb=caller._on_reply)
        return caller

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()

    async def call(
        self, address: Address, method: str, body: bytes, id_: str, timeout_s: float, session: str = ""
    ) -> Reply:
        """The reply to one command. Raises TimeoutError when none came within `timeout_s` seconds."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        tenant, kind, key = address
        self._number += 1
        inbox = f"{self._inbox(tenant)}.{self._number}"  # its own: a late answer to an older call has the same id
        self._waiting[inbox] = answer
        headers = {"Troupe-Id": id_, "Troupe-Reply": inbox}
        if session:
            headers["Troupe-Session"] = session
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    await self._connection.publish(f"cmd.{tenant}.{kind}.{key}.{method}", body, headers=headers)
                except (nats.errors.Error, OSError):
                    pass  # sent again below, under the same id
                done, _ = await asyncio.wait([answer], timeout=REPEAT_S)
                if done:
                    return answer.result()

    async def publish(self, address: Address, method: str, body: bytes, id_: str, timeout_s: float) -> None:
        """Returns once the broker has stored a command. Raises TimeoutError."""
        tenant, kind, key = address
        end = time.monotonic() + timeout_s
        while True:
            try:
                await self._js.publish(f"cmd.{tenant}.{kind}.{key}.{method}", body, headers={"Troupe-Id": id_})
                return
            except (nats.errors.Error, JetStreamError, OSError):  # published again under the same id
                if time.monotonic() > end:
                    raise TimeoutError(f"{id_} was not acknowledged by the broker") from None
                await asyncio.sleep(0.1)

    def _inbox(self, tenant: str) -> str:
        return f"_INBOX.{tenant}.{self._nonce}"

    async def _on_reply(self, message: Msg) -> None:
        reply = msgspec.json.decode(message.data, type=Reply)
        answer = self._waiting.pop(message.subject, None)
        if answer is not None and not answer.done():
            answer.set_result(reply)
