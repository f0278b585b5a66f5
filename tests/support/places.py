"""A system on two Postgres servers and two CMD streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nats
from nats.js.errors import NotFoundError

from runtime.host.settings import PodSettings
from runtime.infra import Infra
from runtime.infra.credentials import Credentials
from runtime.infra.ports import free_port
from runtime.infra.postgres import PostgresServer
from tests.support.servers import Servers
from tests.support.system import System, create, drop_streams, run

STREAMS = "VAULTS=vault"


class TwoServers:
    """A nats-server and two Postgres servers of a test's own, which it may stop."""

    def __init__(self, infra: Infra, second: PostgresServer) -> None:
        self.infra = infra
        self.postgres = (infra.postgres, second)

    @property
    def each(self) -> list[Servers]:
        """The broker with each of the Postgres servers."""
        return [Servers(self.infra.nats.url, one.url, "embedded") for one in self.postgres]


@contextmanager
def two_servers(directory: Path) -> Iterator[TwoServers]:
    """Starts them, and stops them at the end."""
    with ExitStack() as open_until_the_end:
        infra = open_until_the_end.enter_context(Infra.start(directory / "first"))
        credentials = Credentials.load_or_create(directory / "credentials.json")
        port = free_port(avoid=[infra.nats.port, infra.postgres.port])
        second = PostgresServer(directory / "second", port, credentials)
        second.start()
        open_until_the_end.callback(second.stop)
        yield TwoServers(infra, second)


class SplitSystem(System):
    """One empty system on both; `logs` looks at one server each."""

    def __init__(self, servers: TwoServers, database: str) -> None:
        self.logs = [create(one, database) for one in servers.each]
        super().__init__(servers.each[0], database)
        self.postgres_url = " ".join(log.postgres_url for log in self.logs)
        run(_drop(self.nats_url, "VAULTS", "CELLARS"))

    async def empty_broker(self) -> None:
        """Deletes every stream."""
        await _drop(self.nats_url, "VAULTS", "CELLARS")
        await drop_streams(self.nats_url)

    def environment(self, **settings: Any) -> dict[str, str]:
        return super().environment(**({"cmd_streams": STREAMS} | settings))

    def settings(self, **settings: Any) -> PodSettings:
        return super().settings(**({"cmd_streams": STREAMS} | settings))

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        """The rows of both servers, one's after the other's."""
        return [row for log in self.logs for row in log.sql(statement, *parameters)]


async def _drop(url: str, *streams: str) -> None:
    connection = await nats.connect(url)
    for stream in streams:
        try:
            await connection.jetstream().delete_stream(stream)
        except NotFoundError:
            pass
    await connection.close()
