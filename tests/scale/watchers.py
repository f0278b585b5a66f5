"""A process of many SSE clients of one gateway: `python -m tests.scale.watchers`, told by lines on stdin.

Each client is one TCP connection and a parser of its own, lean enough that ten thousand of them fit into two processes,
and strict: it checks that its session's facts come once and in order. The process reads a Watching, prints the seconds
that connecting took when all are watching, reads an Expected, waits for what it says, and prints a Watched.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from datetime import datetime
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from runtime.garbage import collect_rarely
from tests.bench.tally import cpu_s
from tests.scale.files import allow

OPENING = 64
"""So many clients of a process are connecting at a time."""

CONNECT_S = 120.0
SPARE_FILES = 200


class Watching(msgspec.Struct):
    """What one process does: one client a session (a session may be there many times)."""

    url: str
    sessions: list[str]
    sources: int = 1
    """From how many loopback addresses: one has some 28,000 ports towards one gateway."""


class Expected(msgspec.Struct):
    """What each client is to get: so many commands' event and result, from an event of that number on."""

    commands: int
    first_seq: int = 1
    timeout_s: float = 120.0


class Watched(msgspec.Struct):
    """What the clients of one process saw. Times in seconds."""

    clients: int
    facts: int
    missing: int
    doubled: int
    disordered: int
    lost_connections: int
    resets: int
    delays: list[float]
    """From the turn (the fact's `at`, before the commit) to the client, of each fact."""
    cpu_s: float
    trouble: list[str] = []


class _Shown(msgspec.Struct):
    type: str
    command: str
    seq: int = 0
    at: str = ""


_decode = msgspec.json.Decoder(_Shown).decode


class SseClient(asyncio.Protocol):
    """One reader of one session."""

    def __init__(self, host: str, session: str, delays: list[float]) -> None:
        self.session = session
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.events = self.results = self.doubled = self.disordered = self.resets = 0
        self.gone = False
        self.next_seq = 1
        self._id = 0
        self._command = ""
        self._host = host
        self._delays = delays
        self._raw = b""
        self._text = b""
        self._headed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writer = cast("asyncio.WriteTransport", transport)
        writer.write(f"GET /stream/{self.session} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("closed before it was watching"))

    def data_received(self, data: bytes) -> None:
        raw = self._raw + data if self._raw else data
        if not self._headed:
            head, end, raw = raw.partition(b"\r\n\r\n")
            if not end:
                self._raw = head
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.opened.set_exception(ConnectionError(head[:200].decode()))
                return
            self._headed = True
        while (line := raw.find(b"\r\n")) > 0:
            size = int(raw[:line], 16)
            stop = line + 2 + size
            if len(raw) < stop + 2:
                break
            self._text += raw[line + 2 : stop]
            raw = raw[stop + 2 :]
        self._raw = raw
        *events, self._text = self._text.split(b"\n\n")
        for event in events:
            self._on_event(event)

    def _on_event(self, event: bytes) -> None:
        if event.startswith(b":"):
            if not self.opened.done():
                self.opened.set_result(None)
            return
        head, _, data = event.partition(b"\ndata: ")
        if not head.startswith(b"id: ") or b"\n" in head:
            self.resets += 1
            return
        fact = _decode(data)
        self._delays.append(time.time() - datetime.fromisoformat(fact.at).timestamp())
        id = int(head[4:])
        if id <= self._id:
            self.doubled += 1
        self._id = id
        if fact.type == "event":
            self.events += 1
            self.disordered += fact.seq != self.next_seq
            self.next_seq = fact.seq + 1
            self._command = fact.command
        else:
            self.results += 1
            self.disordered += fact.command != self._command


async def run(watching: Watching) -> Watched:
    """Connects all, waits to be told what is to come, and waits for it."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(watching.url)
    host, port = parts.hostname or "", parts.port or 80
    delays: list[float] = []
    clients = [SseClient(parts.netloc, session, delays) for session in watching.sessions]
    waiting = deque(enumerate(clients))

    async def opener() -> None:
        while waiting:
            number, client = waiting.popleft()
            source = (f"127.0.0.{2 + number % watching.sources}", 0) if watching.sources > 1 else None
            await loop.create_connection(partial(_itself, client), host, port, local_addr=source)
            await client.opened

    begun = time.perf_counter()
    async with asyncio.timeout(CONNECT_S):
        await asyncio.gather(*[opener() for _ in range(OPENING)])
    print(time.perf_counter() - begun, flush=True)
    line = await loop.run_in_executor(None, sys.stdin.readline)
    expected = msgspec.json.decode(line, type=Expected)
    return await _await(clients, expected, delays)


def _itself(client: SseClient) -> SseClient:
    return client


async def _await(clients: list[SseClient], expected: Expected, delays: list[float]) -> Watched:
    end = time.monotonic() + expected.timeout_s
    while time.monotonic() < end and any(min(one.events, one.results) < expected.commands for one in clients):
        await asyncio.sleep(0.2)
    short = [one for one in clients if min(one.events, one.results) < expected.commands]
    return Watched(
        clients=len(clients),
        facts=sum(one.events + one.results for one in clients),
        missing=sum(
            max(0, expected.commands - one.events) + max(0, expected.commands - one.results) for one in clients
        ),
        doubled=sum(
            one.doubled + max(0, one.events - expected.commands) + max(0, one.results - expected.commands)
            for one in clients
        ),
        disordered=sum(one.disordered for one in clients),
        lost_connections=sum(one.gone for one in clients),
        resets=sum(one.resets for one in clients),
        delays=delays,
        cpu_s=cpu_s(),
        trouble=[f"{one.session}: {one.events} events, {one.results} results" for one in short[:5]],
    )


def main() -> None:
    """Watches, and tells what was seen."""
    watching = msgspec.json.decode(sys.stdin.readline(), type=Watching)
    allow(len(watching.sessions) + SPARE_FILES)
    collect_rarely()
    watched = uvloop.run(run(watching))
    sys.stdout.flush()
    with open(1, "wb", closefd=False) as out:
        out.write(msgspec.json.encode(watched) + b"\n")


if __name__ == "__main__":
    main()
