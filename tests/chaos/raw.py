"""A caller in plain nats-py, as docs/protocol.md describes one: publish, wait for the reply, publish again."""

from __future__ import annotations

import asyncio
import secrets
from typing import Self

import msgspec
import nats
import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from schemas.wire import Reply

REPEAT_S = 1.0


class RawCaller:
    """Calls actors of the tenant `default`."""

    def __init__(self, connection: Nats) -> None:
        self._connection = connection
        self._inbox = f"_INBOX.default.{secrets.token_hex(8)}"
        self._waiting: dict[str, list[asyncio.Future[Reply]]] = {}

    @classmethod
    async def connect(cls, url: str) -> Self:
        """A caller with a connection of its own."""

        async def ignore(error: Exception) -> None:
            """The broker is killed on purpose."""

        connection = await nats.connect(
            url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=ignore, ping_interval=2,
            max_outstanding_pings=2,
        )  # fmt: skip
        caller = cls(connection)
        await connection.subscribe(caller._inbox, cb=caller._on_reply)
        return caller

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()

    async def call(self, kind: str, key: str, method: str, body: bytes, id_: str, timeout_s: float) -> Reply:
        """The reply to one command. Raises TimeoutError when none came within `timeout_s` seconds."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id_, []).append(answer)
        headers = {"Troupe-Id": id_, "Troupe-Reply": self._inbox}
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    await self._connection.publish(f"cmd.default.{kind}.{key}.{method}", body, headers=headers)
                except (nats.errors.Error, OSError):
                    pass  # sent again below, under the same id
                done, _ = await asyncio.wait([answer], timeout=REPEAT_S)
                if done:
                    return answer.result()

    async def _on_reply(self, message: Msg) -> None:
        reply = msgspec.json.decode(message.data, type=Reply)
        for answer in self._waiting.pop(reply.id, []):
            if not answer.done():
                answer.set_result(reply)
