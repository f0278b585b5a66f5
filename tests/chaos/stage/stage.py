"""The servers of a run, and how each process reaches them."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from runtime.infra import Infra, NatsServer, PostgresServer
from runtime.infra.credentials import SUPERUSER, Credentials
from runtime.infra.ports import free_port
from schemas.subjects import CMD_STREAM
from tests.chaos.stage.clocks import WallClock
from tests.chaos.stage.cluster import Cluster
from tests.chaos.stage.database import Backup
from tests.chaos.stage.quota import Quota
from tests.support.links import Links

REPLICAS = 3
OWN_STREAM = "ERRANDS"
"""Where the commands of the kind `errand` are on a stage that is split."""


@dataclasses.dataclass(frozen=True)
class Needs:
    """What faults need of a stage beside its servers.

    Attributes:
        links: every process reaches the servers through links of its own.
        quotas: the servers' data lie on file systems with limits.
        clocks: pods have wall clocks of their own.
        cluster: three nats-servers instead of one.
    """

    links: bool = False
    quotas: bool = False
    clocks: bool = False
    cluster: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.links or other.links,
            self.quotas or other.quotas,
            self.clocks or other.clocks,
            self.cluster or other.cluster,
        )


class Stage:
    """Servers of its own under `data_dir`. Starting takes seconds; not from a running event loop.

    One that is `split` has two Postgres servers, and a stream of its own for one kind's commands (docs/adr/0014).

    Attributes:
        nats_url, postgres_url: the servers themselves, for those who check.
        databases: the Postgres servers, by their names.
        links: by name, see `environment`; None when processes reach the servers directly.
        link_names: process name → pair (`pod-nats`, …) → the names of its links.
        nats_in_use, postgres_in_use: held by a fault of that server while it lasts.
        history_in_use: held by a fault that needs the stream as it is, or takes something of it.
    """

    def __init__(self, needs: Needs, data_dir: Path, *, split: bool = False) -> None:
        self.data_dir = data_dir
        self.needs = needs
        self.split = split
        self.databases: dict[str, PostgresServer] = {}
        self.nats_in_use, self.postgres_in_use, self.history_in_use = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self.links: Links | None = None
        self.link_names: dict[str, dict[str, list[str]]] = {}
        self.clocks: dict[str, WallClock] = {}
        self.quotas: dict[str, Quota] = {}
        self.cluster: Cluster | None = None
        self._infra: Infra | None = None
        servers = data_dir / "servers"
        try:
            if needs.quotas:
                self.quotas = {name: Quota(servers / name) for name in ("nats", *self.database_names)}
            self._start(servers)
            if needs.links:
                self.links = Links()
        except BaseException:
            self.close()
            raise
        self.postgres = self.databases["postgres"]
        password = Credentials.load_or_create(servers / "credentials.json").postgres_superuser_password
        superuser_url = f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{self.postgres.port}/postgres"
        self.backup = Backup(self.postgres, superuser_url, data_dir)

    def _start(self, servers: Path) -> None:
        servers.mkdir(parents=True, exist_ok=True)
        credentials = Credentials.load_or_create(servers / "credentials.json")
        if not self.needs.cluster:
            self._infra = Infra.start(servers)
            self.nats: NatsServer = self._infra.nats
            self.databases["postgres"] = self._infra.postgres
        else:
            self.cluster = Cluster(servers, credentials.nats_password)
            self.nats = self.cluster.members[0]
            asyncio.run(self.cluster.start())
        for name in self.database_names:
            if name not in self.databases:
                self.databases[name] = PostgresServer(servers / name, free_port(), credentials)
                self.databases[name].start()

    @property
    def database_names(self) -> tuple[str, ...]:
        """What the Postgres servers are called."""
        return ("postgres", "postgres-2") if self.split else ("postgres",)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of commands."""
        return (CMD_STREAM, OWN_STREAM) if self.split else (CMD_STREAM,)

    @property
    def nats_url(self) -> str:
        """The broker, or all of them, separated by commas."""
        return self.cluster.url if self.cluster is not None else self.nats.url

    @property
    def postgres_url(self) -> str:
        """The database, or both of them, separated by a space."""
        return " ".join(server.url for server in self.databases.values())

    def environment(self, role: str, name: str) -> dict[str, str]:
        """How the process `name` (a `pod`, `gateway` or `client`) reaches the servers, and what clock it has."""
        given = {"RUNTIME_NATS_URL": self._linked(role, "nats", name, self.nats_url)}
        if role == "pod":
            given["RUNTIME_POSTGRES_URL"] = self._linked(role, "postgres", name, self.postgres_url)
            if self.needs.clocks:
                self.clocks[name] = WallClock(self.data_dir / f"clock-{len(self.clocks)}")
                given |= self.clocks[name].environment()
        if self.cluster is not None:
            given["RUNTIME_REPLICAS"] = str(REPLICAS)
        if self.split:
            given["RUNTIME_CMD_STREAMS"] = f"{OWN_STREAM}=errand"
        return given

    def release(self, name: str) -> None:
        """The process `name` has ended: its links go."""
        self.clocks.pop(name, None)
        for links in self.link_names.pop(name, {}).values():
            for link in links:
                assert self.links is not None
                self.links.close_link(link)

    def _linked(self, role: str, server: str, name: str, urls: str) -> str:
        if self.links is None:
            return urls
        pair = f"{role}-{server}"
        names: list[str] = []
        through = []
        between = "," if server == "nats" else " "
        for number, url in enumerate(urls.split(between)):
            names.append(f"{pair} of {name}, {number}")
            through.append(self.links.open(names[-1], url))
        self.link_names.setdefault(name, {})[pair] = names
        return between.join(through)

    def close(self) -> None:
        """Ends everything."""
        if self.links is not None:
            self.links.close()
        try:
            if self._infra is not None:
                self._infra.close()
            elif self.cluster is not None:
                self.cluster.stop()
            for server in self.databases.values():
                server.stop()  # repeating it is harmless
        finally:
            for quota in self.quotas.values():
                quota.close()
