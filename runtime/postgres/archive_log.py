"""The archive's side of the log on Postgres: what may be archived, and where it lies once it is."""

from __future__ import annotations

import datetime
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from runtime.host.archiving import Base, Candidate, NotArchived, Packed
from runtime.postgres.arrays import plain, texts
from runtime.postgres.connection import INCARNATION, Connection, incarnation
from runtime.postgres.queries import query
from runtime.postgres.session import Session
from schemas.digest import signed
from schemas.segment import VERSION, Segment, SegmentEvent

PAGE = 1000
PIECE_BLOCKS = 64
"""Blocks of the table of actors that are looked through in one statement: some five thousand actors."""

LOCK_CLASS = 721_584_603
"""Advisory locks (this, lane): who archives a lane."""


class PostgresArchiveLog:
    """The ArchiveLog port, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, 60.0, {"lock_timeout": "10s"})
        self._incarnation: str | None = None

    async def log_id(self) -> str:
        return str((await self._session.run(query("setting"), ("log_id",)))[0][0])

    async def lock(self, lanes: Sequence[int]) -> list[int]:
        self._incarnation = (await self._session.run(INCARNATION))[0][0]
        rows = await self._session.run(query("archive_lock"), {"lanes": list(lanes), "class": LOCK_CLASS})
        return [lane for (lane,) in rows]

    async def unlock(self, lanes: Sequence[int]) -> None:
        await self._session.run(query("archive_unlock"), {"lanes": list(lanes), "class": LOCK_CLASS})

    async def candidates(
        self, kind: str, lanes: Sequence[int], keep_events: int, before: datetime.datetime
    ) -> AsyncIterator[list[Candidate]]:
        block = 0
        while block < (await self._session.run(query("archive_blocks")))[0][0]:
            piece = {"from": f"({block},0)", "to": f"({block + PIECE_BLOCKS},0)"}
            wanted = {"kind": kind, "lanes": list(lanes), "keep_events": keep_events, "before": before} | piece
            yield [Candidate(*row) for row in await self._session.run(query("archive_candidates"), wanted)]
            block += PIECE_BLOCKS

    async def base(self, actor: str) -> Base | None:
        rows = await self._session.run(query("archive_base"), (actor,))
        return Base(*rows[0]) if rows else None

    async def rows(
        self, candidate: Candidate, from_seq: int, upto: int
    ) -> AsyncIterator[list[tuple[int, SegmentEvent]]]:
        who = {"actor": candidate.actor, "partition": candidate.partition, "upto": upto, "limit": PAGE}
        while from_seq <= upto:
            rows = await self._session.run(query("archive_rows"), who | {"from_seq": from_seq})
            if rows:
                yield [(row[1], _event(row)) for row in rows]
                from_seq = rows[-1][0] + 1
            if len(rows) < PAGE:
                return

    async def readers(self) -> dict[int, int]:
        return dict(await self._session.run(query("archive_readers")))

    async def record(self, store: str, segment: Segment, packed: Sequence[Packed]) -> None:
        header = segment.header
        async with self._session.connection() as connection:
            try:
                async with connection.transaction():
                    # An older copy in its place may hold other events under the same numbers.
                    if await incarnation(connection) != self._incarnation:
                        raise NotArchived("Postgres was started anew, perhaps with an older copy of the log")
                    inserted = await _run(connection, "insert_segment", _row(store, segment, packed))
                    if not inserted:
                        raise NotArchived("it is recorded already")
                    await _record(connection, inserted[0][0], segment, packed)
            except NotArchived as error:
                refused = error
            else:
                return
        raise NotArchived(f"segment {segment.name} of lane {header.lane} is not recorded: {refused}")

    async def close(self) -> None:
        """Closes the connection."""
        await self._session.close()


async def _record(connection: Connection, number: int, segment: Segment, packed: Sequence[Packed]) -> None:
    blocks, header = segment.header.blocks, segment.header
    actors = plain([block.actor for block in blocks])
    firsts, lasts = plain([block.first_seq for block in blocks]), plain([block.last_seq for block in blocks])
    tenants = texts([block.tenant for block in blocks])
    versions = texts([one.base.fold_version for one in packed])
    covered = await _run(connection, "covering_snapshots", (actors, versions, lasts))
    if len(covered) != len(blocks):
        raise NotArchived(f"of {len(blocks)} actors {len(covered)} have a snapshot that covers what is to be archived")
    states = texts([one.base.state for one in packed])
    moved = await _run(connection, "move_archived", (actors, tenants, firsts, lasts, versions, states))
    if len(moved) != len(blocks):
        raise NotArchived(f"of {len(blocks)} actors {len(blocks) - len(moved)} were archived by somebody else")
    places = plain([segment.start + block.offset for block in blocks])
    sizes, sums = plain([block.length for block in blocks]), texts([block.sha256 for block in blocks])
    index = (number, actors, firsts, lasts, tenants, places, sizes, sums)
    await _run(connection, "insert_segment_actors", index)
    cursor = await connection.execute(
        query("delete_archived_events"), (actors, firsts, lasts, header.partition, header.lane)
    )
    if cursor.rowcount != header.events:
        raise NotArchived(f"of {header.events} events {cursor.rowcount} are rows")


def _row(store: str, segment: Segment, packed: Sequence[Packed]) -> dict[str, Any]:
    header = segment.header
    sessions = {event.session for one in packed for event in one.events.events if event.session is not None}
    return {
        "store": store,
        "name": segment.name,
        "sha256": segment.sha256,
        "bytes": len(segment.data),
        "format": VERSION,
        "lane": header.lane,
        "partition": header.partition,
        "kind": header.kind,
        "tenants": sorted({block.tenant for block in header.blocks}),
        "sessions": sorted({session_mark(session) for session in sessions}),
        "events": header.events,
        "first_position": header.first_position,
        "last_position": header.last_position,
        "first_at": header.first_at,
        "last_at": header.last_at,
    }


def session_mark(session: str) -> int:
    """By what a session's events are looked for among segments: two sessions may share it."""
    return signed(zlib.crc32(session.encode()))


def _event(row: Sequence[Any]) -> SegmentEvent:
    (seq, _, position, version, epoch, at, type_, command_id, session, causation_id, correlation_id, principal,
     code_version, key_id, hash_, payload) = row  # fmt: skip
    at_text = at.astimezone(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return SegmentEvent(
        seq, position, type_, version, epoch, at_text, command_id, payload, session, causation_id, correlation_id,
        principal, code_version, key_id, hash_,
    )  # fmt: skip


async def _run(connection: Connection, name: str, parameters: Any) -> list[Any]:
    cursor = await connection.execute(query(name), parameters)
    return await cursor.fetchall() if cursor.description else []
