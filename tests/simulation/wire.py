"""A node's connection to the broker: messages travel in order, and are lost with the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from runtime.client.connection import Connection, Direct
from runtime.errors import NotConnected
from runtime.host.broker import StoredMessage, StreamState
from schemas.subjects import CMD_STREAM
from tests.simulation.broker import Broker
from tests.simulation.scheduler import Node
from tests.simulation.streams import Consumer

RECONNECT_S = 0.1


class Subscription:
    """A subscription of a wire."""

    def __init__(self, wire: Wire, pattern: str, receiver: Direct) -> None:
        self._wire = wire
        self._pattern = pattern
        self._receiver = receiver

    async def unsubscribe(self) -> None:
        """Ends it, as the server sees it when the word has arrived."""
        wire = self._wire
        wire.patterns = [one for one in wire.patterns if one[0] != self._pattern or one[1] is not self._receiver]
        wire.send(lambda: wire.broker.unsubscribe(wire, self._pattern, self._receiver))


class InOrder(dict[Any, None]):
    """A set whose order does not depend on addresses."""

    def add(self, one: Any) -> None:
        """Adds one."""
        self[one] = None

    def discard(self, one: Any) -> None:
        """Takes one out."""
        self.pop(one, None)


class Wire(Connection):
    """A connection whose other end is a Broker in this process."""

    def __init__(self, node: Node, broker: Broker, on_reconnect: Callable[[], Awaitable[None]] | None = None) -> None:
        # Not nats-py's own: there is no socket. What the engine uses of it is all here.
        self.node = node
        self.broker = broker
        self.resumed = cast("set[Callable[[], None]]", InOrder())
        self.connected = asyncio.Event()
        self.connected.set()
        self.listens = True
        """Whether the broker still takes it for alive."""
        self.held_until = 0.0
        """Until when nothing passes; then all arrives that was on its way."""
        self.patterns: list[tuple[str, Direct, str]] = []
        self._on_reconnect = on_reconnect
        self._closed = False
        self._number = 0
        self._inbox = f"_INBOX.{node.name}"
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._up: list[Any] = []
        self._down: list[tuple[Direct, str, str, bytes, bytes]] = []
        self._up_moving = self._down_moving = False
        self._life = 0
        broker.wires.append(self)
        broker.subscribe(self, f"{self._inbox}.r.*", self._on_answer, "")

    # -- what the engine uses ---------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def is_connected(self) -> bool:
        return self.listens and not self._closed

    @property
    def max_payload(self) -> int:
        return 1024 * 1024

    def new_inbox(self) -> str:
        self._number += 1
        return f"{self._inbox}.i{self._number}"

    def post(self, subject: str, body: bytes, header_block: bytes = b"", reply: str = "") -> None:
        if self._closed:
            raise NotConnected("the connection to NATS is closed")
        self.send((subject, body, header_block, reply))

    def write_posted(self) -> None:
        """What was posted is on its way."""

    async def subscribe_direct(self, subject: str, callback: Direct, *, queue: str = "") -> Any:
        self.patterns.append((subject, callback, queue))
        self.send(lambda: self.broker.subscribe(self, subject, callback, queue))
        return Subscription(self, subject, callback)

    async def wait_connected(self, timeout_s: float) -> bool:
        if not self._closed and not self.connected.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self.connected.wait()
            except TimeoutError:
                return False
        return not self._closed

    async def request(self, *arguments: Any, **named: Any) -> Any:
        subject, payload = arguments
        timeout_s: float = named["timeout"]
        self._number += 1
        name = f"{self._inbox}.r.{self._number}"
        answer = self._waiting[name] = self.node.scheduler.loop.create_future()
        try:
            self.post(subject, payload, b"", name)
            async with asyncio.timeout(timeout_s):
                return SimpleNamespace(data=await answer)
        finally:
            del self._waiting[name]

    def jetstream(self, *, timeout: float = 5.0, **_: Any) -> Any:
        return _Api(self, timeout)

    async def flush(self, timeout: float = 10.0) -> None:
        await self.ask(lambda: None, timeout)

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        """The node is gone."""
        self._closed = True
        self.listens = False
        if self in self.broker.wires:
            self.broker.wires.remove(self)

    async def ask(self, statement: Callable[[], Any], timeout_s: float) -> Any:
        """What a question to the broker's API gives. Raises TimeoutError."""
        self._number += 1
        name = f"{self._inbox}.r.{self._number}"
        answer = self._waiting[name] = self.node.scheduler.loop.create_future()

        def arrive() -> None:
            result = statement()
            self.deliver(self._on_answer, name, "", result, b"")

        try:
            if self._closed:
                raise NotConnected("the connection to NATS is closed")
            self.send(arrive)
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            del self._waiting[name]

    def _on_answer(self, subject: str, reply: str, body: Any, block: bytes) -> None:
        waiting = self._waiting.get(subject)
        if waiting is not None and not waiting.done():
            waiting.set_result(body)

    # -- travelling -------------------------------------------------------------------------------------------------

    def send(self, what: Any) -> None:
        """Sends a message, or what is to be called when it arrives; all in order."""
        self._up.append(what)
        if not self._up_moving and self.listens:
            self._up_moving = True
            scheduler = self.broker.scheduler
            scheduler.after(_latency(scheduler.rng.random()), partial(self._arrive, self._life))

    def _arrive(self, life: int) -> None:
        if life != self._life or self._closed:
            return
        if self.broker.scheduler.now < self.held_until:
            self._wait_for_hole(self._arrive)
            return
        self._up_moving = False
        batch, self._up = self._up, []
        broker = self.broker
        for what in batch:
            if type(what) is tuple:
                broker.receive(self, *what)
            else:
                what()

    def deliver(self, receiver: Direct, subject: str, reply: str, body: bytes, block: bytes) -> None:
        """The broker has something for this node."""
        scheduler = self.broker.scheduler
        if not self.listens or self.node.dead:
            return
        if self.broker.drop_p and scheduler.rng.random() < self.broker.drop_p:
            scheduler.say(f"broker loses a message to {self.node.name} on {subject}")
            return
        self._down.append((receiver, subject, reply, body, block))
        if not self._down_moving:
            self._down_moving = True
            scheduler.after(_latency(scheduler.rng.random()), partial(self._hand_over, self._life))

    def _hand_over(self, life: int) -> None:
        if self.broker.scheduler.now < self.held_until:
            self._wait_for_hole(self._hand_over)
        elif life == self._life and not self._closed:
            self._down_moving = False
            batch, self._down = self._down, []
            self.node.call_soon(self._receive, batch)

    def _receive(self, batch: list[tuple[Direct, str, str, bytes, bytes]]) -> None:
        for receiver, subject, reply, body, block in batch:
            if self._closed:
                return
            receiver(subject, reply, body, block)

    def _wait_for_hole(self, then: Callable[[int], None]) -> None:
        scheduler = self.broker.scheduler
        scheduler.after(self.held_until - scheduler.now, partial(then, self._life))

    # -- life -------------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """The connection breaks: what travels is lost, and the node connects anew until it succeeds."""
        if self._closed or not self.listens:
            return
        self.listens = False
        self._life += 1
        self._up, self._down = [], []
        self._up_moving = self._down_moving = False
        self.node.call_soon(self.connected.clear)
        self.broker.scheduler.after(RECONNECT_S * (1 + self.broker.scheduler.rng.random()), self._reconnect)

    def _reconnect(self) -> None:
        if self._closed or self.node.dead:
            return
        if not self.broker.up or self.node.frozen:
            self.broker.scheduler.after(RECONNECT_S, self._reconnect)
            return
        self.broker.subscribe_anew(self, [*self.patterns, (f"{self._inbox}.r.*", self._on_answer, "")])
        self.listens = True
        waiting, self._up = self._up, []
        self.node.call_soon(self._back)
        for what in waiting:
            self.send(what)

    def _back(self) -> None:
        self.connected.set()
        self.node.start(self._resume())

    async def _resume(self) -> None:
        if self._on_reconnect is not None:
            await self._on_reconnect()
        for resume in tuple(self.resumed):
            resume()


class _Api:
    """What the engine uses of nats-py's JetStream context."""

    def __init__(self, wire: Wire, timeout_s: float) -> None:
        self._wire = wire
        self._timeout_s = timeout_s

    async def add_consumer(self, stream: str, config: Any) -> None:
        """Makes a consumer as the engine's reader makes them."""
        consumer = Consumer(config.name, config.filter_subject, config.opt_start_seq)
        assert stream == CMD_STREAM
        await self._wire.ask(lambda: self._wire.broker.commands.create(consumer), self._timeout_s)


class SimulatedStream:
    """The CommandStream port."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stream = wire.broker.commands

    async def state(self) -> StreamState:
        stream = self._stream
        return await self._ask(  # type: ignore[no-any-return]  # as asked
            lambda: StreamState(stream.first_seq, stream.last_seq, len(stream.messages), 0, 0)
        )

    async def message_time(self, seq: int) -> int | None:
        found = await self._ask(lambda: self._stream.messages.get(seq))
        return None if found is None else found.at

    async def next(self, subjects: str, seq: int) -> StoredMessage | None:
        found = await self._ask(lambda: self._stream.next(subjects, seq))
        return None if found is None else StoredMessage(found.subject, found.seq, found.at, found.block, found.body)

    async def kinds(self) -> set[str]:
        return await self._ask(lambda: {one.subject.split(".")[3] for one in self._stream.messages.values()})  # type: ignore[no-any-return]  # as asked

    async def purge(self, upto: int) -> None:
        await self._ask(lambda: self._stream.purge(upto))

    async def _ask(self, statement: Callable[[], Any]) -> Any:
        try:
            return await self._wire.ask(statement, 5.0)
        except TimeoutError as error:
            raise NotConnected("the broker does not answer") from error


def _latency(draw: float) -> float:
    """Seconds that one way takes."""
    return 0.0001 + 0.0006 * draw if draw < 0.97 else 0.02 * (draw - 0.96) * 25
