"""Callers that know the protocol and nothing of Troupe: nats-py, and a bare socket for what nats-py would not send."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import nats
from nats.aio.client import Client

from tests.support.patience import PATIENCE_S


def token(key: str) -> str:
    """A key as a subject token, as docs/protocol.md gives it."""
    return quote(key, safe="~").replace(".", "%2E")


class Caller:
    """Calls actors with nats-py alone."""

    def __init__(self, connection: Client, tenant: str) -> None:
        self.connection = connection
        self.jetstream = connection.jetstream(timeout=PATIENCE_S)
        self.tenant = tenant

    @classmethod
    async def connect(cls, url: str, tenant: str = "default") -> Caller:
        """A caller for one tenant."""
        return cls(await nats.connect(url, inbox_prefix=f"_INBOX.{tenant}".encode()), tenant)

    async def close(self) -> None:
        await self.connection.close()

    def subject(self, kind: str, key: str, method: str) -> str:
        """Where a command goes."""
        return f"cmd.{self.tenant}.{kind}.{token(key)}.{method}"

    async def ask(
        self, kind: str, key: str, method: str, args: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The reply to a command whose arguments are JSON."""
        body = b"" if args is None else json.dumps(args).encode()
        reply: dict[str, Any] = json.loads(await self.send(self.subject(kind, key, method), body, headers))
        return reply

    async def send(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
        """The body of the reply to a message, which the broker has acknowledged."""
        inbox = self.connection.new_inbox()
        subscription = await self.connection.subscribe(inbox)
        try:
            await self.jetstream.publish(subject, body, headers={"Troupe-Reply": inbox} | (headers or {}))
            return bytes((await subscription.next_msg(timeout=PATIENCE_S)).data)
        finally:
            await subscription.unsubscribe()


class Wire:
    """A connection to NATS by hand: any bytes may be sent."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._socket = socket.create_connection((parts.hostname, parts.port or 4222), timeout=PATIENCE_S)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()  # INFO
        options = {"verbose": False, "headers": True, "user": parts.username, "pass": parts.password}
        self._socket.sendall(b"CONNECT %b\r\n" % json.dumps(options).encode())

    def publish(self, subject: bytes, header: bytes = b"", body: bytes = b"", reply: bytes = b"") -> None:
        """Sends one message, and returns when the server has taken it; raises AssertionError when it refuses."""
        if header:
            block = b"NATS/1.0" + header + b"\r\n\r\n"
            sizes = b"%d %d" % (len(block), len(block) + len(body))
            self._socket.sendall(b"HPUB %b %b %b\r\n%b%b\r\nPING\r\n" % (subject, reply, sizes, block, body))
        else:
            self._socket.sendall(b"PUB %b %b %d\r\n%b\r\nPING\r\n" % (subject, reply, len(body), body))
        answer = self._lines.readline()
        while answer == b"PING\r\n":
            self._socket.sendall(b"PONG\r\n")
            answer = self._lines.readline()
        assert answer == b"PONG\r\n", answer

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
