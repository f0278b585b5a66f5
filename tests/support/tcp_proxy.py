"""A TCP proxy whose connections can be broken: `python -m tests.support.tcp_proxy`, ordered by tests.support.links.

One process carries many *links*, each from a port of its own to one server. Orders come as lines of JSON on standard
input, an answer goes out for each; the process ends with its input. What a link does with connections is its `Manner`:

    cut         every connection is reset, new ones are reset at once
    hole        nothing passes; new connections are accepted and hear nothing
    slow        everything passes, later, and in a thin stream
    half-open   one end of every connection is reset and the other end hears nothing of it, for good; new ones pass
    one-way     nothing comes back from the server; what is sent to it arrives
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections import deque
from typing import Literal

import msgspec

Mode = Literal["pass", "cut", "hole", "slow", "half-open", "one-way"]
End = Literal["near", "far"]
CHUNK_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)


class Manner(msgspec.Struct, frozen=True):
    """What a link does.

    Attributes:
        mode: see above.
        delay_s: in `slow`, what each chunk waits.
        bytes_per_s: in `slow`, what passes each way.
        end: in `half-open`, which end is reset: `near`, that of the program which connected, or `far`, the server's.
        forget: on leaving `hole` or `one-way`: whether the connections that suffered it are reset, instead of passing
            on what was held up.
    """

    mode: Mode = "pass"
    delay_s: float = 0.0
    bytes_per_s: int = 0
    end: End = "far"
    forget: bool = False


class Order(msgspec.Struct, omit_defaults=True):
    """Open the link `name` to `host`:`port`, set its manner, or close it."""

    what: Literal["open", "set", "close"]
    name: str
    host: str = ""
    port: int = 0
    manner: Manner = Manner()


class Answer(msgspec.Struct):
    """The port of the link's near end, how many connections it had when the order came, or what went wrong."""

    port: int = 0
    connections: int = 0
    error: str = ""


class _Connection:
    """One connection through a link."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        self.dead = False
        """Half-open: what still comes from the end that was left is dropped."""

    def reset(self, *ends: asyncio.StreamWriter) -> None:
        for end in ends or (self.near, self.far):
            reset(end)


class Link:
    """One port, and the way to one server."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._manner = Manner()
        self._changed = asyncio.Event()

    async def open(self) -> int:
        """Listens, and gives the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def set(self, manner: Manner) -> int:
        """Takes on a manner; gives how many connections it has now."""
        before, self._manner = self._manner, manner
        self._changed.set()
        self._changed = asyncio.Event()
        count = len(self._connections)
        if manner.mode == "cut" or (before.mode in ("hole", "one-way") and before.forget):
            for connection in self._connections:
                connection.reset()
        if manner.mode == "half-open":
            for connection in self._connections:
                connection.dead = True
                connection.reset(connection.near if manner.end == "near" else connection.far)
        return count

    async def close(self) -> None:
        """Resets every connection and listens no more."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.reset()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            reset(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._manner.mode == "hole":
            await self._changed.wait()
        if self._manner.mode == "cut":
            return
        back, far = await asyncio.open_connection(*self._to)
        connection = _Connection(writer, far)
        self._connections.add(connection)
        try:
            ways = (self._pump(reader, far, connection, "there"), self._pump(back, writer, connection, "back"))
            await asyncio.gather(*ways)
        finally:
            self._connections.discard(connection)
            reset(far)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection, way: str
    ) -> None:
        """Passes one way on, until its source ends or both ends are gone."""
        waiting: deque[tuple[float, bytes]] = deque()
        arrived = asyncio.Event()
        sender = asyncio.ensure_future(self._send(waiting, arrived, writer, connection, way))
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    data = await reader.read(CHUNK_BYTES)
                except OSError:
                    data = b""
                if connection.dead and not data:
                    break
                if connection.dead:
                    continue
                while len(waiting) > 64:  # a slow way holds its sender up, as a full window does
                    await asyncio.sleep(0.01)
                waiting.append((loop.time() + self._manner.delay_s, data))
                arrived.set()
                if not data:
                    break
            if not connection.dead:
                await sender
        finally:
            sender.cancel()

    async def _send(
        self,
        waiting: deque[tuple[float, bytes]],
        arrived: asyncio.Event,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        way: str,
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not waiting:
                arrived.clear()
                await arrived.wait()
            due, data = waiting[0]
            if (pause := due - loop.time()) > 0:
                await asyncio.sleep(pause)
            while self._holds(way):
                await self._changed.wait()
            waiting.popleft()
            if connection.dead:
                continue
            if not data:
                writer.close()
                return
            try:
                writer.write(data)
                await writer.drain()
            except (OSError, RuntimeError):  # uvloop's word for a connection that was reset meanwhile
                return
            if rate := self._manner.bytes_per_s:
                await asyncio.sleep(len(data) / rate)

    def _holds(self, way: str) -> bool:
        return self._manner.mode == "hole" or (self._manner.mode == "one-way" and way == "back")


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection as a crashed host would: with RST, and what was not sent is dropped."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            pass
    writer.transport.abort()


async def obey(links: dict[str, Link], order: Order) -> Answer:
    """Carries one order out."""
    if order.what == "open":
        link = links[order.name] = Link(order.host, order.port)
        return Answer(port=await link.open())
    if order.name not in links:
        return Answer(error=f"there is no link {order.name!r}: open it first")
    if order.what == "close":
        await links.pop(order.name).close()
        return Answer()
    return Answer(connections=links[order.name].set(order.manner))


async def main() -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    links: dict[str, Link] = {}
    while line := await orders.readline():
        answer = await obey(links, msgspec.json.decode(line, type=Order))
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
