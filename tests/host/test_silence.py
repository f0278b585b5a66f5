"""Connections to Postgres that fall silent without an end: a host that lost its power, a firewall that forgot them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from tests.support.kinds import Add, counter
from tests.support.system import System, run


class Line:
    """A way to Postgres: what goes through connections from before `silence` reaches nobody any more."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._silenced = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silenced = self._silenced
        there, back = await asyncio.open_connection(*self._to)
        self._writers += [writer, back]
        await asyncio.gather(self._pass(reader, back, silenced), self._pass(there, writer, silenced))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silenced: asyncio.Event) -> None:
        try:
            while (data := await reader.read(65_536)) and not silenced.is_set():
                writer.write(data)
            if not silenced.is_set():
                writer.close()
        except OSError:
            writer.close()

    def silence(self) -> None:
        self._silenced.set()
        self._silenced = asyncio.Event()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def line(system: System) -> AsyncIterator[tuple[Line, str]]:
    """A line to the system's Postgres, and the URL at which it begins."""
    parts = urlsplit(system.postgres_url)
    assert parts.hostname is not None
    way = Line(parts.hostname, parts.port or 5432)
    server = await asyncio.start_server(way.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    try:
        yield way, urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"))
    finally:
        server.close()
        way.close()


def test_given_connections_that_fall_silent_when_the_database_is_there_then_the_pod_goes_on_with_new_ones(
    system: System,
) -> None:
    async def scenario() -> None:
        async with (
            line(system) as (way, url),
            system.pod(counter, postgres_url=url, lease_ttl_s=2.0),  # after some of them a silent line is given up
            system.client() as client,
        ):
            try:
                assert await client.ask(counter, "a", Add(1)) == 1
                for expected in (2, 3):
                    way.silence()
                    assert await client.ask(counter, "a", Add(1), timeout_s=120) == expected
            finally:
                way.close()  # what waits for a silent connection would keep a failing test from its end

    run(scenario())
