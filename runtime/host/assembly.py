"""The one place where adapters meet the host's ports: a pod on a NATS server and a Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from runtime.client.connection import Connection, connect
from runtime.client.objects import Objects
from runtime.clock import Clock
from runtime.errors import CallFailed, NotConnected
from runtime.host.broker import Deliver
from runtime.host.front import Front, Registered
from runtime.host.parts import CallFront, Parts
from runtime.host.settings import PodSettings
from runtime.host.threads import SystemThreads
from runtime.jetstream.command_stream import JetStreamCommands
from runtime.jetstream.publisher import JetStreamPublisher
from runtime.jetstream.reader import CommandReader
from runtime.jetstream.streams import StreamSettings, ensure
from runtime.postgres.commit_log import PostgresCommitLog
from runtime.postgres.connection import redacted
from runtime.postgres.groups import PostgresGroups
from runtime.postgres.keeping import PostgresKeeping
from runtime.postgres.migrate import migrate
from runtime.postgres.ownership import PostgresOwnership
from runtime.postgres.reading import PostgresReader
from runtime.postgres.snapshots import PostgresSnapshots
from runtime.postgres.timers import PostgresTimers
from runtime.version import VERSION


async def make_objects(connection: Connection, replicas: int) -> None:
    """The store of bodies in flight, as durable as the streams. Raises NotConnected."""
    try:
        await Objects(connection).make(replicas)
    except CallFailed as error:
        raise NotConnected(str(error)) from error


class Servers:
    """Assembles pods on the servers of `settings`; see runtime.host.parts.Assembly."""

    def __init__(self, settings: PodSettings) -> None:
        self._settings = settings
        self.log_name = f"Postgres at {redacted(settings.postgres_url)}"

    async def connect(self, pod: str, on_reconnect: Callable[[], Awaitable[None]]) -> Connection:
        settings = self._settings
        connection = await connect(settings.nats_url, name=f"troupe pod {pod}", on_reconnect=on_reconnect)
        try:
            await ensure(connection, StreamSettings(partitions=settings.partitions, replicas=settings.replicas))
            if settings.replicas > 1:  # else whoever needs the store first makes it
                await make_objects(connection, settings.replicas)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def prepare(self) -> None:
        await migrate(self._settings.postgres_url)

    def parts(
        self, connection: Connection, pod: str, capabilities: Mapping[str, str], deliver: Deliver, clock: Clock
    ) -> Parts:
        settings, url = self._settings, self._settings.postgres_url
        return Parts(
            ownership=PostgresOwnership(url, pod, settings.group, settings.code_version, capabilities),
            log=PostgresCommitLog(url, pod, settings.code_version, settings.lease_ttl_s),
            reader=PostgresReader(url, settings.partitions),
            timers=PostgresTimers(url, capabilities),
            snapshots=PostgresSnapshots(url),
            keeping=PostgresKeeping(url),
            groups=PostgresGroups(url),
            objects=Objects(connection),
            publisher=JetStreamPublisher(connection),
            commands=CommandReader(connection, list(capabilities), deliver, clock),
            stream=JetStreamCommands(connection),
            threads=SystemThreads(),
        )

    def front(self, connection: Connection, registered: Registered, partitions: int, token: str) -> CallFront:
        return Front(connection, registered, partitions, VERSION, token)
