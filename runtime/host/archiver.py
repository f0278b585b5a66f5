"""Moving old events from the log's table to segments of the archive (docs/archive.md).

The order is what makes it safe: the snapshot that covers the events is compared with what the events fold to; the
segment is written and made durable; it is read back and compared; it is recorded, and the rows deleted, in one
transaction. Killed anywhere, nothing is lost and nothing there twice: at worst a segment lies in the store that nobody
has recorded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

from runtime.clock import Clock
from runtime.errors import UnreadableEvent
from runtime.host.archiving import ArchiveLog, Base, Candidate, NotArchived, Packed, SegmentStore
from runtime.host.ports import LogUnavailable
from runtime.host.reading import FoldSource, SnapshotRow, Snapshots
from runtime.kind import DELETED, SYSTEM_EVENT_PREFIX, Kind, StoredEvent
from runtime.policy import Retention
from schemas.segment import ActorEvents, BadSegment, Segment, SegmentActor, SegmentEvent, decode_segment, encode_segment

_log = logging.getLogger("troupe.archive")

SEGMENT_EVENTS = 10_000
"""Events after which a segment is closed; one actor's part of it is at most as many."""

SEGMENT_BYTES = 16 * 1024 * 1024
"""Bytes of payload after which a segment is closed."""

HELD_BYTES = 4 * SEGMENT_BYTES
"""Bytes of payload that wait in memory for their lane's segment to be full; beyond, the fullest is closed."""


@dataclasses.dataclass(slots=True)
class Archived:
    """What was done. `refused` are actors of which nothing was archived, for the reason that the log names."""

    segments: int = 0
    events: int = 0
    actors: int = 0
    bytes: int = 0
    refused: int = 0
    busy: int = 0
    """Lanes that somebody else was archiving."""


@dataclasses.dataclass(slots=True)
class _Filling:
    """What is to become one segment."""

    packed: list[Packed] = dataclasses.field(default_factory=list)
    events: int = 0
    bytes: int = 0


class Archiver:
    """Archives for one process. `reader` reads the log, archived events included."""

    def __init__(
        self, log: ArchiveLog, reader: FoldSource, snapshots: Snapshots, store: SegmentStore, clock: Clock
    ) -> None:
        self._log = log
        self._reader = reader
        self._snapshots = snapshots
        self._store = store
        self._clock = clock
        self._running = asyncio.Lock()
        self._verified: dict[str, int] = {}
        """Actor → the sequence of the snapshot that this run has compared with its fold."""

    async def run(self, kind: Kind, lanes: Collection[int], retention: Retention) -> Archived:
        """Archives what is old, of one kind, in those of the lanes that nobody else archives now.

        Raises LogUnavailable or NotConnected, when log or store cannot be reached; what was archived until then is.
        """
        done = Archived()
        async with self._running:
            own = await self._log.lock(sorted(lanes))
            done.busy = len(lanes) - len(own)
            try:
                if own:
                    await self._archive(kind, own, retention, done)
            finally:
                self._verified.clear()
                with suppress(LogUnavailable):  # else the connection is gone, and its locks with it
                    await self._log.unlock(own)
        return done

    async def _archive(self, kind: Kind, lanes: Sequence[int], retention: Retention, done: Archived) -> None:
        before = datetime.datetime.fromtimestamp(self._clock.now() - retention.keep_for_s, datetime.UTC)
        log_id, needed = await self._log.log_id(), await self._log.readers()
        filling: dict[int, _Filling] = {}
        async for page in self._log.candidates(kind.name, lanes, retention.keep_events, before):
            for found in page:
                candidate: Candidate | None = found
                while candidate is not None:
                    packed, candidate = await self._packed(kind, candidate, before, needed, done)
                    if packed is None:
                        break
                    lane = filling.setdefault(packed.candidate.lane, _Filling())
                    lane.packed.append(packed)
                    lane.events += len(packed.events.events)
                    lane.bytes += sum(len(event.payload) for event in packed.events.events)
                    # An actor is once in a segment: what follows of it is for the next one.
                    if candidate is not None or lane.events >= SEGMENT_EVENTS or lane.bytes >= SEGMENT_BYTES:
                        await self._close(log_id, kind, filling.pop(packed.candidate.lane), done)
            while sum(one.bytes for one in filling.values()) > HELD_BYTES:
                fullest = max(filling, key=lambda number: filling[number].bytes)
                await self._close(log_id, kind, filling.pop(fullest), done)
        for rest in filling.values():
            await self._close(log_id, kind, rest, done)

    async def close(self) -> None:
        """Closes its connection to the log; reader and snapshots are others'."""
        await self._log.close()

    # -- one actor ------------------------------------------------------------------------------------------------

    async def _packed(
        self, kind: Kind, candidate: Candidate, before: datetime.datetime, needed: Mapping[int, int], done: Archived
    ) -> tuple[Packed | None, Candidate | None]:
        """(what is archived of an actor, what may be archived of it afterwards)."""
        events, more = await self._old_events(candidate, before, needed)
        if not events:
            return None, None
        try:
            last = events[-1].seq
            text = await self._verified_state(kind, candidate, events)
        except _Refused as error:
            reason = str(error)
        except UnreadableEvent as error:
            reason = str(error)
        except Exception as error:  # the fold is the user's code
            reason = f"its fold failed: {error!r}"
        else:
            actor = SegmentActor(candidate.actor, candidate.tenant, kind.name, candidate.key)
            packed = Packed(candidate, ActorEvents(actor, events), Base(last, kind.fold_version, text))
            return packed, candidate._replace(first_seq=last + 1) if more else None
        done.refused += 1
        _log.error("nothing is archived of %s/%s/%s: %s", candidate.tenant, kind.name, candidate.key, reason)
        return None, None

    async def _old_events(
        self, candidate: Candidate, before: datetime.datetime, needed: Mapping[int, int]
    ) -> tuple[list[SegmentEvent], bool]:
        """The actor's first rows, as far as they are old and nobody needs them as rows; whether it was too many."""
        events: list[SegmentEvent] = []
        first, size = candidate.first_seq, 0
        upto = min(candidate.upto, first + SEGMENT_EVENTS - 1)
        limit = before.isoformat(timespec="microseconds").replace("+00:00", "Z")
        read_until = needed.get(candidate.lane)
        async for page in self._log.rows(candidate, first, upto):
            for lane, event in page:
                wanted = lane == candidate.lane and event.at < limit and event.seq == first + len(events)
                if not wanted or (read_until is not None and event.position > read_until):
                    return events, False
                if size >= SEGMENT_BYTES:
                    return events, True
                events.append(event)
                size += len(event.payload)
        return events, bool(events) and upto == events[-1].seq < candidate.upto

    async def _base(self, kind: Kind, candidate: Candidate, first: SegmentEvent) -> Any:
        """The actor's state before its first row."""
        if first.type == SYSTEM_EVENT_PREFIX + DELETED:
            return kind.initial()
        before = candidate.first_seq - 1
        known = await self._log.base(candidate.actor)
        if known is not None and known.seq != before:
            raise _Refused(
                f"its first {known.seq} events are archived, and its rows begin with {candidate.first_seq}: something "
                "was deleted or restored by hand"
            )
        if known is not None and known.fold_version == kind.fold_version:
            return await asyncio.to_thread(kind.decode_state, known.state.encode())
        state = kind.initial()
        return state if before == 0 else await self._folded(kind, candidate, state, 0, before)

    async def _verified_state(self, kind: Kind, candidate: Candidate, events: Sequence[SegmentEvent]) -> str:
        """The state behind these events as JSON; a snapshot covers it, and says what the events fold to.

        Raises _Refused, UnreadableEvent, and what the fold raises.
        """
        state, seq = await self._base(kind, candidate, events[0]), events[-1].seq
        found = await self._snapshots.find(candidate.actor, kind.fold_version)
        behind = found[0] if found is not None and found[0] < seq else 0
        until = [_stored(event) for event in events if event.seq <= behind]
        if found is not None and until:  # it is replaced by a newer one, but not if it belies the log
            state = await asyncio.to_thread(kind.fold, state, until)
            await self._compare(kind, state, *found)
        state = await asyncio.to_thread(kind.fold, state, [_stored(event) for event in events[len(until) :]])
        text = kind.encode_state(state).decode()
        if self._verified.get(candidate.actor, 0) >= seq:
            return text
        if found is None or found[0] < seq:
            row = SnapshotRow(candidate.actor, candidate.tenant, seq, kind.fold_version, text)
            await self._snapshots.save([row])
            found = await self._snapshots.find(candidate.actor, kind.fold_version)
        if found is None or found[0] < seq:
            raise _Refused("other code writes snapshots of it at the same time: archive when all pods run one version")
        there = await self._folded(kind, candidate, state, seq, found[0])
        await self._compare(kind, there, *found)
        self._verified[candidate.actor] = found[0]
        return text

    async def _compare(self, kind: Kind, state: Any, seq: int, snapshot: str) -> None:
        if not await asyncio.to_thread(_agree, kind, state, snapshot):
            raise _Refused(
                f"its snapshot at event {seq} is not what its events fold to. Its state is in doubt: if its fold "
                "is pure and its code says version= where it must, delete the snapshot, start its pod anew and look"
            )

    async def _folded(self, kind: Kind, candidate: Candidate, state: Any, after: int, upto: int) -> Any:
        """The state at `upto`, from the state at `after`. Raises _Refused when the log does not go so far."""
        reached = after
        if after < upto:
            async for page in self._reader.stored(candidate.actor, candidate.partition, after):
                events = list(takewhile(lambda event: event.seq <= upto, page))
                state = await asyncio.to_thread(kind.fold, state, events)
                reached = events[-1].seq if events else reached
                if len(events) < len(page):
                    break
        if reached != upto:
            raise _Refused(f"its log ends with event {reached}, and there is a snapshot of event {upto}")
        return state

    # -- one segment ----------------------------------------------------------------------------------------------

    async def _close(self, log_id: str, kind: Kind, filling: _Filling, done: Archived) -> None:
        """Writes a segment, reads it back, and has it take the place of its rows."""
        packed = filling.packed
        where = packed[0].candidate
        contents = [one.events for one in packed]
        segment = await asyncio.to_thread(encode_segment, log_id, where.lane, where.partition, kind.name, contents)
        await self._store.put(segment.name, segment.data)
        written = await self._store.get(segment.name)
        if not await asyncio.to_thread(_holds, written, segment, contents):
            _log.error("%s/%s is not what was written: nothing is archived with it", self._store.url, segment.name)
            done.refused += len(packed)
            return
        try:
            await self._log.record(self._store.url, segment, packed)
        except NotArchived as error:
            _log.warning("%s", error)
            done.refused += len(packed)
            return
        done.segments += 1
        done.events += segment.header.events
        done.actors += len(packed)
        done.bytes += len(segment.data)


class _Refused(Exception):
    """Nothing of an actor may be archived."""


def _stored(event: SegmentEvent) -> StoredEvent:
    return StoredEvent(event.seq, event.type, event.version, event.payload)


def _agree(kind: Kind, state: Any, snapshot: str) -> bool:
    """Whether a snapshot is of this state: as a value, or as the text that it would be written as."""
    kept = kind.decode_state(snapshot.encode())
    return bool(kept == state) or kind.encode_state(kept) == kind.encode_state(state)


def _holds(written: bytes, segment: Segment, contents: Sequence[ActorEvents]) -> bool:
    """Whether what was read back is what was written, and decodes to it."""
    if written != segment.data:
        return False
    try:
        header, found = decode_segment(written)
    except BadSegment:
        return False
    return header == segment.header and [(one.actor, list(one.events)) for one in found] == [
        (one.actor, list(one.events)) for one in contents
    ]
