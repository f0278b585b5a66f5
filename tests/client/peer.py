"""The other side of the wire, spoken by hand: a test says what a pod would answer.

Only the protocol of the client is tested against it; what real pods do with the client's messages is tested with pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from runtime.client.connection import Connection, parse_headers
from schemas import headers as h
from schemas import subjects
from schemas.wire import Capability, Fact, Failure, Info, Reply
from tests.support.patience import PATIENCE_S


@dataclass
class Seen:
    """One message that came to the peer. `acknowledged`: its sender asked the broker for an acknowledgement."""

    subject: str
    headers: dict[str, str]
    body: bytes
    acknowledged: bool = False

    @property
    def args(self) -> Any:
        """The body's value."""
        return msgspec.json.decode(self.body) if self.body else None


Handler = Callable[[Seen], Reply | None]


def echo(seen: Seen) -> Reply:
    """A reply whose result is what was sent."""
    return Reply(seen.headers.get(h.ID, ""), 1, msgspec.Raw(seen.body or b"null"))


def failing(code: str, message: str, **parts: Any) -> Handler:
    """Replies with a failure."""
    return lambda seen: Reply(seen.headers.get(h.ID, ""), 1, error=Failure(code, message, **parts))


def silent(seen: Seen) -> None:
    """Does not reply."""


@dataclass
class Peer:
    """Answers commands by `on_command`, queries by `on_query`, services by `services`; None is silence."""

    connection: Connection
    partitions: int
    on_command: Handler = echo
    on_query: Handler = echo
    batched: bool = True
    commands: list[Seen] = field(default_factory=list)
    queries: list[Seen] = field(default_factory=list)
    kinds: list[str] = field(default_factory=lambda: ["account"])
    services: dict[str, Callable[[Any], Any]] = field(default_factory=dict)

    async def open(self) -> None:
        """Begins to answer commands and services; queries only after `serve_queries`."""
        self.services.setdefault("info", lambda _: Info(self.partitions, "0", "log"))
        self.services.setdefault("capabilities", lambda _: [Capability(k, "g", "entity", "1", []) for k in self.kinds])
        await self.connection.subscribe_direct("cmd.>", self._on_command)
        await self.connection.subscribe_direct("svc.*", self._on_service)
        await self.connection.flush()

    async def serve_queries(self) -> None:
        """Begins to answer queries, as the owner of all partitions."""
        await self.connection.subscribe_direct("q.>", self._on_query)
        await self.connection.flush()

    async def publish(self, tenant: str, session: str, name: str) -> int:
        """Puts a fact into the session's stream, and returns its sequence."""
        fact = Fact("event", name, "1", tenant, "account", "alice", 1)
        ack = await self.connection.jetstream().publish(subjects.events(tenant, session), msgspec.json.encode(fact))
        return ack.seq

    def reply(self, to: str, reply: Reply) -> None:
        """Sends a reply to a command."""
        self.connection.post(to, msgspec.json.encode([reply] if self.batched else reply))

    async def until_commands(self, count: int) -> None:
        """Waits until that many commands came."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.commands) < count:
                await asyncio.sleep(0.01)

    def _on_command(self, subject: str, reply: str, data: bytes, block: bytes) -> None:
        seen = Seen(subject, parse_headers(block), data, acknowledged=bool(reply))
        self.commands.append(seen)
        answer = self.on_command(seen)
        if answer is not None and h.REPLY in seen.headers:
            self.reply(seen.headers[h.REPLY], answer)

    def _on_query(self, subject: str, reply: str, data: bytes, block: bytes) -> None:
        seen = Seen(subject, parse_headers(block), data)
        self.queries.append(seen)
        answer = self.on_query(seen)
        if answer is not None:
            self.connection.post(reply, msgspec.json.encode(answer))

    def _on_service(self, subject: str, reply: str, data: bytes, block: bytes) -> None:
        service = self.services[subject.removeprefix("svc.")]
        result = service(msgspec.json.decode(data) if data else None)
        answer = result if isinstance(result, Reply) else Reply("", 0, msgspec.Raw(msgspec.json.encode(result)))
        self.connection.post(reply, msgspec.json.encode(answer))
