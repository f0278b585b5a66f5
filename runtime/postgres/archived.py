"""Reading what has left the table of events: from segments, by what the log knows of them (docs/archive.md).

Events leave the table in the transaction that says where they lie. So whoever reads rows first and asks for segments
afterwards misses none: what was no row any more is in a segment that is known by then. What is in both is told by its
place and taken once.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from runtime.archive.stores import SegmentMissing, Store, open_store
from runtime.errors import Misconfigured, NotConnected, UnreadableSegment
from runtime.host.ports import LogUnavailable
from runtime.postgres.archive_log import session_mark
from runtime.postgres.queries import query
from runtime.postgres.session import Session
from schemas.segment import ActorEvents, BadSegment, Block, decode_block, decode_segment
from schemas.wire import LogEvent

LAST_SEQ = 2**63 - 1
KEPT_EVENTS = 30_000
"""Decoded events that are kept for the next page of the same reading."""

Wanted = Callable[[LogEvent], bool]
Place = tuple[Any, ...]


class _Part(NamedTuple):
    """A segment, or one actor's block of it. `block` is None for all of it, `sha256` the checksum of either."""

    segment: int
    store: str
    name: str
    sha256: str
    lower: Any = None
    """Nothing in it has a place before this."""
    block: Block | None = None

    @property
    def url(self) -> str:
        return f"{self.store}/{self.name}"


class ArchivedEvents:
    """The archived events of a log. `tenant` is whose they must be; None for everybody's."""

    def __init__(self, session: Session, tenant: str | None) -> None:
        self._session = session
        self._tenant = tenant
        self._stores: dict[str, Store] = {}
        self._restored: datetime.datetime | None = None
        self._erased: dict[tuple[str, str, str], int] = {}
        self._kept: OrderedDict[tuple[int, str | None], list[LogEvent]] = OrderedDict()

    async def steady(self, read: Callable[[], Awaitable[list[LogEvent]]]) -> list[LogEvent]:
        """What `read` gives, which reads rows and then segments; again if segments became rows meanwhile."""
        while True:
            events = await read()
            ((restored,),) = await self._session.run(query("last_restored"))
            if restored == self._restored:
                return events
            self._restored = restored

    async def _look_for_erased(self) -> None:
        rows = await self._session.run(query("erased_actors"))
        self._erased = {(tenant, kind, key): seq for tenant, kind, key, seq in rows}

    async def of_actor(self, actor: str, from_seq: int, upto: int = LAST_SEQ) -> AsyncIterator[list[LogEvent]]:
        """One actor's archived events in this range, block by block. Raises UnreadableSegment, LogUnavailable."""
        rows = await self._session.run(query("actor_blocks"), {"actor": actor, "from_seq": from_seq, "upto": upto})
        for number, store, name, first, last, at_byte, size, sha256, lane, tenant, key in rows:
            block = Block(actor, tenant, key, first, last, at_byte, size, sha256)
            events = await self._events(_Part(number, store, name, sha256, block=block), lane)
            yield [event for event in events if from_seq <= event.seq <= upto]

    async def in_lane(
        self, filters: Mapping[str, Any], lane: int, after: int, end: int, limit: int
    ) -> list[LogEvent]:
        """The first `limit` archived events of a lane with `after < position <= end`, by position."""
        wanted = {**filters, "lane": lane, "after": after, "end": end}
        parts = [_Part(*row) for row in await self._session.run(query("lane_segments"), wanted)]
        if parts:
            await self._look_for_erased()
        fits = self._filter(filters, lambda event: after < event.position <= end)
        return await self._first(parts, lambda event: (event.position,), fits, limit)

    async def in_time(self, filters: Mapping[str, Any], limit: int) -> list[LogEvent]:
        """The first `limit` archived events that fit, by time. `filters` as in PostgresReader.by_time."""
        parts = [_Part(*row) for row in await self._session.run(query("time_segments"), filters)]
        if parts:
            await self._look_for_erased()
        return await self._first(parts, by_time, self._filter(filters, lambda event: True), limit)

    async def in_session(self, tenant: str, session: str, after: str, limit: int) -> list[LogEvent]:
        """The first `limit` archived events of a session beyond a position vector (JSON), by time."""
        wanted = {"tenant": tenant, "mark": session_mark(session), "after": after}
        parts = [_Part(*row) for row in await self._session.run(query("session_segments"), wanted)]
        if parts:
            await self._look_for_erased()
        vector: dict[str, int] = msgspec.json.decode(after)
        fits = self._filter(
            {"tenant": tenant},
            lambda event: event.session == session and event.position > vector.get(str(event.lane), 0),
        )
        return await self._first(parts, by_time, fits, limit)

    def _filter(self, filters: Mapping[str, Any], beside: Wanted) -> Wanted:
        """Which events are asked for: as the statements of reading.sql have it."""
        tenant, kind = filters.get("tenant"), filters.get("kind")
        since, until = filters.get("since"), filters.get("until")

        def fits(event: LogEvent) -> bool:
            if self._erased and event.seq < self._erased.get((event.tenant, event.kind, event.key), 0):
                return False
            if self._tenant not in (None, event.tenant) or tenant not in (None, event.tenant):
                return False
            if kind not in (None, event.kind):
                return False
            if since is not None or until is not None:
                at = moment(event)
                if (since is not None and at < since) or (until is not None and at >= until):
                    return False
            return beside(event)

        return fits

    async def _first(
        self, parts: Sequence[_Part], place: Callable[[LogEvent], Place], fits: Wanted, limit: int
    ) -> list[LogEvent]:
        """The first `limit` events that fit, in order, of segments that are in the order of where they begin."""
        found: list[LogEvent] = []
        for part in parts:
            if len(found) >= limit and part.lower > place(found[limit - 1])[0]:
                break
            found += [event for event in await self._events(part) if fits(event)]
            found.sort(key=place)
            del found[limit:]
        return found

    async def _events(self, part: _Part, lane: int = 0) -> list[LogEvent]:
        """What is in a segment, or a block of it, checked. Raises UnreadableSegment, LogUnavailable."""
        key = (part.segment, part.block.actor if part.block else None)
        events = self._kept.get(key)
        if events is None:
            events = await self._read(part, lane)
            self._kept[key] = events
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > KEPT_EVENTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return events

    async def _read(self, part: _Part, lane: int) -> list[LogEvent]:
        block = part.block
        try:
            store = self._stores.get(part.store) or self._stores.setdefault(part.store, open_store(part.store))
            if block is None:
                return await asyncio.to_thread(_decoded, await store.get(part.name), part)
            body = await store.get(part.name, block.offset, block.length)
            return await asyncio.to_thread(lambda: _log_events(lane, decode_block(body, block)))
        except (SegmentMissing, BadSegment, Misconfigured) as error:
            what = "a part of the log"
            if block is not None:
                what = f"events {block.first_seq} to {block.last_seq} of {block.tenant}/{block.key} ({block.actor})"
            raise UnreadableSegment(
                f"{what} cannot be read from segment {part.segment}, {part.url}: {error}. Put the file back as it was "
                f"written (`runtime log segments --check` tells which are whole)"
            ) from error
        except NotConnected as error:
            raise LogUnavailable(f"segment {part.segment}, {part.url}, cannot be read now: {error}") from error


def by_time(event: LogEvent) -> Place:
    """The order of reading by time."""
    return (moment(event), event.lane, event.position)


def moment(event: LogEvent) -> datetime.datetime:
    """When an event was committed."""
    return datetime.datetime.fromisoformat(event.at)


def merged(
    rows: list[LogEvent], archived: list[LogEvent], place: Callable[[LogEvent], Place], limit: int
) -> list[LogEvent]:
    """Both in one order, each event once: what was archived between the two readings is in both."""
    if not archived:
        return rows
    both = {(event.lane, event.position): event for event in (*rows, *archived)}
    return sorted(both.values(), key=place)[:limit]


def _decoded(data: bytes, part: _Part) -> list[LogEvent]:
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise BadSegment(f"it is damaged: its checksum is not {part.sha256}")
    header, actors = decode_segment(data)
    events = [event for actor in actors for event in _log_events(header.lane, actor)]
    events.sort(key=lambda event: event.position)
    return events


def _log_events(lane: int, found: ActorEvents) -> list[LogEvent]:
    """As rows of the table would be given."""
    tenant, kind, key = found.actor.tenant, found.actor.kind, found.actor.key
    return [
        LogEvent(
            tenant, kind, key, event.seq, lane, event.position, event.type, event.version,
            event.at.replace(".000000Z", "Z"), event.command_id, msgspec.Raw(event.payload.encode()), event.session,
            event.causation_id, event.correlation_id, event.principal, event.code_version, event.epoch,
        )
        for event in found.events
    ]  # fmt: skip
