"""The one place where adapters meet the host's ports: a pod on a NATS server and a Postgres."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from runtime.archive.stores import open_store
from runtime.client.connection import Connection, connect
from runtime.client.objects import Objects
from runtime.clock import Clock
from runtime.errors import CallFailed, Misconfigured, NotConnected
from runtime.host.archiver import Archiver
from runtime.host.broker import Deliver
from runtime.host.front import Front, Registered
from runtime.host.parts import CallFront, Parts
from runtime.host.places import Place, stream_of
from runtime.host.settings import PodSettings
from runtime.host.threads import SystemThreads
from runtime.jetstream.command_stream import JetStreamCommands, oldest
from runtime.jetstream.publisher import JetStreamPublisher
from runtime.jetstream.reader import CommandReader
from runtime.jetstream.streams import StreamSettings, ensure, subjects
from runtime.postgres.archive_log import PostgresArchiveLog
from runtime.postgres.commit_log import PostgresCommitLog
from runtime.postgres.connection import redacted
from runtime.postgres.index import several_indexes
from runtime.postgres.migrate import migrate
from runtime.postgres.ownership import PostgresOwnership
from runtime.postgres.placing import claim
from runtime.postgres.several import whole_log
from runtime.postgres.snapshots import PostgresSnapshots
from runtime.postgres.timers import PostgresTimers
from runtime.version import VERSION
from schemas.subjects import CMD_STREAM

_log = logging.getLogger("troupe.pod")


async def make_objects(connection: Connection, replicas: int) -> None:
    """The store of bodies in flight, as durable as the streams. Raises NotConnected."""
    try:
        await Objects(connection).make(replicas)
    except CallFailed as error:
        raise NotConnected(str(error)) from error


class Servers:
    """Assembles the pod of one place, which serves `kinds`, on its servers; see runtime.host.parts.Assembly.

    `brought` are those that others of them bring along (runtime.kind.with_companions).
    """

    def __init__(
        self, settings: PodSettings, place: Place, kinds: Iterable[str], brought: frozenset[str] = frozenset()
    ) -> None:
        self._brought = brought
        self._settings = settings
        self._place = place
        self._streams = StreamSettings(
            settings.partitions, place.stream, frozenset(kinds), place.own_streams, replicas=settings.replicas
        )
        self.log_name = f"Postgres at {redacted(place.url)}"

    async def connect(self, pod: str, on_reconnect: Callable[[], Awaitable[None]]) -> Connection:
        settings = self._settings
        connection = await connect(settings.nats_url, name=f"troupe pod {pod}", on_reconnect=on_reconnect)
        try:
            await ensure(connection, self._streams)
            if settings.replicas > 1:  # else whoever needs the store first makes it
                await make_objects(connection, settings.replicas)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def prepare(self) -> bytes:
        await migrate(self._place.url)
        return await claim(self._place)

    def parts(
        self, connection: Connection, pod: str, capabilities: Mapping[str, str], deliver: Deliver, clock: Clock
    ) -> Parts:
        settings, place, url = self._settings, self._place, self._place.url
        log = whole_log(place, settings.partitions)
        listed = subjects(self._streams) if place.own_streams else ()
        snapshots = PostgresSnapshots(url)
        archiver = None
        if settings.archive_url is not None:
            store = open_store(settings.archive_url)
            archiver = Archiver(PostgresArchiveLog(url), log.reader, snapshots, store, clock)
        return Parts(
            ownership=PostgresOwnership(
                url, pod, settings.group, settings.code_version, capabilities, place, self._brought
            ),
            log=PostgresCommitLog(url, pod, settings.code_version, settings.lease_ttl_s),
            reader=log.reader,
            timers=PostgresTimers(url, capabilities),
            snapshots=snapshots,
            keeping=log.keeping,
            groups=log.groups,
            objects=Objects(connection),
            publisher=JetStreamPublisher(connection, partial(self._adopt, connection) if listed else None),
            commands=CommandReader(connection, list(capabilities), deliver, clock, stream=place.stream),
            stream=JetStreamCommands(connection, place.stream, listed),
            oldest_elsewhere=partial(oldest, connection, sorted({CMD_STREAM, *place.own_streams} - {place.stream})),
            threads=SystemThreads(),
            first_partition=place.server,
            index=several_indexes(place.servers),
            archiver=archiver,
        )

    def front(self, connection: Connection, registered: Registered, partitions: int, token: str) -> CallFront:
        return Front(connection, registered, partitions, VERSION, token)

    async def _adopt(self, connection: Connection, kinds: set[str]) -> None:
        """Makes the streams take the commands of kinds that none takes yet."""
        for kind in kinds:
            stream = stream_of(kind, self._place.own_streams)
            try:
                await ensure(connection, dataclasses.replace(self._streams, stream=stream, kinds=frozenset({kind})))
            except Misconfigured as error:  # a stream of another map has them: the message waits for a pod of it
                _log.warning("no stream for the commands of %s: %s", kind, error)
