"""What is archived, as a person sees it: listing segments, checking them, and making their events rows again."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from typing import Any, NamedTuple

import msgspec

from runtime.archive.stores import SegmentMissing, Store, open_store
from runtime.errors import Misconfigured, Rejected, UnreadableSegment
from runtime.postgres.connection import Connection
from runtime.postgres.queries import query
from runtime.postgres.session import Session
from schemas.segment import ActorEvents, BadSegment, decode_segment


class SegmentInfo(NamedTuple):
    """One segment. `live` is False when its events are rows again."""

    id: int
    kind: str
    lane: int
    events: int
    actors: int
    bytes: int
    first_at: datetime.datetime
    last_at: datetime.datetime
    archived_at: datetime.datetime
    live: bool
    store: str
    name: str
    sha256: str

    @property
    def url(self) -> str:
        """Where it lies."""
        return f"{self.store}/{self.name}"


class PostgresSegments:
    """Runs on a connection of its own. Everything raises LogUnavailable."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = Session(url, 300.0, {"lock_timeout": "10s"})
        self._stores: dict[str, Store] = {}

    async def partitions(self) -> int:
        """The log's number of partitions. Raises Misconfigured when no pod has ever used it."""
        rows = await self._session.run(query("setting"), ("partitions",))
        if not rows:
            raise Misconfigured("no pod has used this log yet: there is nothing in it")
        return int(rows[0][0])

    async def lanes(self) -> list[int]:
        """Every lane."""
        return [lane for (lane,) in await self._session.run(query("all_lanes"))]

    async def find(self, kind: str | None = None, id: int | None = None) -> list[SegmentInfo]:
        """The segments, oldest first: of one kind, or the one of that number."""
        rows = await self._session.run(query("list_segments"), {"kind": kind, "id": id})
        return [SegmentInfo(*row) for row in rows]

    async def contents(self, segment: SegmentInfo) -> list[ActorEvents]:
        """What is in a segment, read from its store and checked. Raises UnreadableSegment, NotConnected."""
        try:
            store = self._stores.get(segment.store)
            if store is None:
                store = self._stores[segment.store] = open_store(segment.store)
            data = await store.get(segment.name)
            return await asyncio.to_thread(_checked, data, segment)
        except (SegmentMissing, BadSegment, Misconfigured) as error:
            raise UnreadableSegment(f"segment {segment.id}, {segment.url}, cannot be read: {error}") from error

    async def unrecorded(self, store_url: str) -> list[str]:
        """Names in a store that this log has not recorded: of an archiving that died, and what may be deleted.

        Raises NotConnected, Misconfigured. An archiving that is under way has one of them.
        """
        store = open_store(store_url)
        log_id = (await self._session.run(query("setting"), ("log_id",)))[0][0]
        known = {segment.name for segment in await self.find() if segment.store == store.url}
        return [name for name in await store.names(f"{log_id}/") if name not in known]

    async def restore(self, segment: SegmentInfo) -> int:
        """Makes the events of a segment rows again, in one transaction; gives how many. The file stays.

        Raises UnreadableSegment, NotConnected; Rejected when later events of one of its actors are archived too.
        """
        contents = await self.contents(segment)
        refused = None
        async with self._session.connection() as connection:
            try:
                async with connection.transaction():
                    await _restore(connection, segment, contents)
            except Rejected as error:
                refused = error
        if refused is not None:
            raise refused
        return segment.events

    async def close(self) -> None:
        """Closes the connection."""
        await self._session.close()


async def _restore(connection: Connection, segment: SegmentInfo, contents: list[ActorEvents]) -> None:
    place = await _run(connection, "lock_segment", (segment.id,))
    if not place:
        raise Rejected(f"the events of segment {segment.id} are rows already")
    later = (await _run(connection, "later_segment", (segment.id,)))[0][0]
    if later is not None:
        raise Rejected(f"segment {later} holds later events of actors of segment {segment.id}: restore that one first")
    lane, partition = place[0]
    erased = dict(await _run(connection, "erased_seqs", ()))
    for actor, found in contents:
        events = [event for event in found if event.seq >= erased.get(actor.actor, 0)]
        where = {"actor": actor.actor, "tenant": actor.tenant, "lane": lane, "partition": partition}
        await connection.execute(query("restore_events"), where | {"events": msgspec.json.encode(events).decode()})
    for name in ("lower_archived", "forget_archived", "forget_segment_actors", "segment_restored"):
        await _run(connection, name, (segment.id,))


def _checked(data: bytes, segment: SegmentInfo) -> list[ActorEvents]:
    if hashlib.sha256(data).hexdigest() != segment.sha256:
        raise BadSegment(f"it is damaged: its checksum is not {segment.sha256}")
    return decode_segment(data)[1]


async def _run(connection: Connection, name: str, parameters: Any) -> list[Any]:
    cursor = await connection.execute(query(name), parameters)
    return await cursor.fetchall() if cursor.description else []
