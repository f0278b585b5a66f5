"""Reading the log: one actor from a sequence, by time, a session, or the whole log by position vector.

Positions are handed out under the fence of their lane, so they become visible in order: a reader that has seen position
n of a lane never misses one below it, however late other transactions commit. A position of the whole log is a vector,
lane → position.

What is archived is read from its segments (archived.py), and needs nothing of who asks: the log knows where it lies.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from runtime.errors import UnreadableSegment
from runtime.host.listing import RunFilter, Wanted
from runtime.host.ports import InboxEntry, Refusal
from runtime.kind import DELETED, SYSTEM_EVENT_PREFIX, StoredEvent
from runtime.postgres import listing
from runtime.postgres.archived import LAST_SEQ, ArchivedEvents, by_time, merged, moment
from runtime.postgres.erasing import erase
from runtime.postgres.journals import JournalReader
from runtime.postgres.queries import query
from runtime.postgres.session import Session
from schemas.wire import LogEvent

PAGE = 1000
Row = dict[str, Any]


class PostgresReader:
    """Reads on a connection of its own. `role` is troupe_pod, or troupe_reader with a tenant for those who see one."""

    def __init__(self, url: str, partitions: int, *, role: str = "troupe_pod", tenant: str | None = None) -> None:
        settings = {"troupe.tenant": tenant} if tenant is not None else {}
        self._session = Session(url, 60.0, settings, role=role)
        self._partitions = partitions
        self._archived = ArchivedEvents(self._session, tenant)
        self._journals = JournalReader(self._session)

    async def close(self) -> None:
        """Closes the connection."""
        await self._session.close()

    # -- the log --------------------------------------------------------------------------------------------------

    async def actor(
        self, actor: str, lane: int, from_seq: int = 1, limit: int = PAGE, until: datetime.datetime | None = None
    ) -> list[LogEvent]:
        """Events of one actor from `from_seq`, at most `limit`, up to the time `until`."""
        wanted = {"actor": actor, "partition": lane % self._partitions, "from_seq": from_seq, "until": until}

        async def read() -> list[LogEvent]:
            rows = await self._events("actor_events", wanted | {"limit": limit})
            if rows and rows[0].seq == from_seq:
                return rows  # only an actor's first events are archived: behind a row there are rows
            archived: list[LogEvent] = []
            async for page in self._archived.of_actor(actor, from_seq):
                archived += [event for event in page if until is None or moment(event) <= until]
                if len(archived) >= limit:
                    break
            return merged(rows, archived, lambda event: (event.seq,), limit)

        return await self._archived.steady(read)

    async def stored(self, actor: str, partition: int, after_seq: int) -> AsyncIterator[list[StoredEvent]]:
        """An actor's events after a sequence, for folding, in pages that follow one another without a gap.

        Raises UnreadableSegment, LogUnavailable.
        """
        while True:
            wanted = {"actor": actor, "partition": partition, "from_seq": after_seq + 1, "until": None, "limit": PAGE}
            rows = await self._session.run(query("actor_events"), wanted)
            if rows and rows[0][3] > after_seq + 1 and rows[0][6] != _DELETED:
                before = rows[0][3] - 1
                async for page in self._archived.of_actor(actor, after_seq + 1, before):
                    if page[0].seq != after_seq + 1 and page[0].type != _DELETED:
                        break
                    yield [StoredEvent(one.seq, one.type, one.version, bytes(one.payload).decode()) for one in page]
                    after_seq = page[-1].seq
                if after_seq != before:
                    raise UnreadableSegment(
                        f"events {after_seq + 1} to {before} of {actor} are neither rows nor in a segment of the "
                        "archive: something was deleted by hand; bring events or segment_actors back from a backup"
                    )
            if rows:
                yield [StoredEvent(row[3], row[6], row[7], row[10]) for row in rows]
                after_seq = rows[-1][3]
            if len(rows) < PAGE:
                return

    async def last_seq(self, actor: str, partition: int) -> int:
        """The sequence of an actor's newest event, which is never archived; 0 when it has none."""
        rows = await self._session.run(query("last_seq"), {"actor": actor, "partition": partition})
        return int(rows[0][0])

    async def journal(
        self, actor: str, partition: int, command_id: str, after: int = 0
    ) -> list[tuple[int, str, str]]:
        """(sequence, type, payload) of what a command's execution has completed and was told since `after`."""
        return await self._journals.read(actor, partition, command_id, after)

    async def by_time(
        self,
        since: datetime.datetime,
        until: datetime.datetime,
        *,
        tenant: str | None = None,
        kind: str | None = None,
        limit: int = PAGE,
    ) -> list[LogEvent]:
        """Events with `since <= at < until`, in the order of their times."""
        wanted = {"since": since, "until": until, "tenant": tenant, "kind": kind, "limit": limit}

        async def read() -> list[LogEvent]:
            rows = await self._events("time_events", wanted)
            return merged(rows, await self._archived.in_time(wanted, limit), by_time, limit)

        return await self._archived.steady(read)

    async def session(self, tenant: str, session: str, after: Mapping[str, int], limit: int) -> list[LogEvent]:
        """Events that a session's commands caused, beyond the position vector `after` (lane as text → position)."""
        wanted = {"tenant": tenant, "session": session, "after": json.dumps(dict(after)), "limit": limit}

        async def read() -> list[LogEvent]:
            rows = await self._events("session_events", wanted)
            archived = await self._archived.in_session(tenant, session, str(wanted["after"]), limit)
            return merged(rows, archived, by_time, limit)

        return await self._archived.steady(read)

    async def positions(self) -> dict[int, int]:
        """The position of the whole log now: lane → position."""
        return dict(await self._session.run(query("positions")))

    async def after(
        self,
        vector: Mapping[int, int],
        limit: int = PAGE,
        *,
        tenant: str | None = None,
        kind: str | None = None,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
    ) -> tuple[list[LogEvent], dict[int, int]]:
        """Events beyond a position vector, lane by lane, and the vector behind the last of them.

        Only those of `tenant` and `kind` with `since <= at < until`; the vector moves past the others too.
        """
        filters = {"tenant": tenant, "kind": kind, "since": since, "until": until}
        reached = dict(vector)
        events: list[LogEvent] = []
        for lane, end in (await self.positions()).items():
            after, room = reached.get(lane, 0), limit - len(events)
            if end <= after or room <= 0:
                continue
            found = await self._in_lane(filters, lane, after, end, room)
            events += found
            reached[lane] = found[-1].position if len(found) == room else end
        return events, reached

    async def _in_lane(self, filters: Mapping[str, Any], lane: int, after: int, end: int, limit: int) -> list[LogEvent]:
        """The first `limit` events of a lane with `after < position <= end` that fit."""
        where = {"lane": lane, "partition": lane % self._partitions, "after": after, "end": end, "limit": limit}

        async def read() -> list[LogEvent]:
            rows = await self._events("lane_events", {**filters, **where})
            upto = rows[-1].position if len(rows) == limit else end
            archived = await self._archived.in_lane(filters, lane, after, upto, limit)
            return merged(rows, archived, lambda event: (event.position,), limit)

        return await self._archived.steady(read)

    async def _events(self, name: str, wanted: Mapping[str, Any]) -> list[LogEvent]:
        return [_event(row) for row in await self._session.run(query(name), wanted)]

    # -- beside the log -------------------------------------------------------------------------------------------

    async def inbox_entry(self, actor: str, command_id: str) -> InboxEntry | None:
        """The recorded answer to a command."""
        rows = await self._session.run(query("inbox_entry"), (actor, command_id))
        return InboxEntry(*rows[0]) if rows else None

    async def refusal(self, actor: str, command_id: str, digest: int | None) -> Refusal | None:
        """The last refusal under this id; with a digest, that of this very command."""
        wanted = {"actor": actor, "command_id": command_id, "digest": digest}
        rows = await self._session.run(query("refusal"), wanted)
        return Refusal(*rows[0]) if rows else None

    async def pending_entry(self, actor: str, command_id: str) -> tuple[str, int, str | None, int] | None:
        """(state, attempts, last error, digest) of a command that is not done."""
        rows = await self._session.run(query("pending_entry"), (actor, command_id))
        return tuple(rows[0]) if rows else None

    async def erase(self, actor: str, partition: int, seq: int) -> int:
        """Takes away what a deleted actor leaves from before its event `seq`; gives how many events that were."""
        return await erase(self._session, actor, partition, seq)

    async def segments_of(self, actor: str) -> list[Row]:
        """The segments of the archive that hold events of an actor."""
        wanted = {"actor": actor, "from_seq": 1, "upto": LAST_SEQ}
        rows = await self._session.run(query("actor_blocks"), wanted)
        return [{"url": f"{row[1]}/{row[2]}", "first_seq": row[3], "last_seq": row[4]} for row in rows]

    async def describe(self, actor: str) -> Row:
        """What an actor has beside its events: pending commands, pause, snapshot, timers."""
        pending = await self._session.run(query("actor_pending"), (actor,))
        paused = await self._session.run(query("actor_paused"), (actor,))
        snapshot = await self._session.run(query("actor_snapshot"), (actor,))
        timers = await self._session.run(query("actor_timers"), (actor,))
        names = ("command_id", "method", "state", "holds", "attempts", "due_at", "error", "since")
        return {
            "pending": [dict(zip(names, row, strict=True)) for row in pending],
            "paused": dict(zip(("reason", "by", "since"), paused[0], strict=True)) if paused else None,
            "snapshot": dict(zip(("seq", "fold_version", "state"), snapshot[0], strict=True)) if snapshot else None,
            "timers": [dict(zip(("name", "due_at", "method"), row, strict=True)) for row in timers],
        }

    async def actors(self, tenant: str, kind: str | None, after: tuple[str, str], limit: int) -> list[Row]:
        """Actors with at least one event, ordered by kind and key, after (kind, key)."""
        wanted = {"tenant": tenant, "kind": kind, "after_kind": after[0], "after_key": after[1], "limit": limit}
        names = ("tenant", "kind", "key", "partition", "created_at", "seq")
        return await self._rows("list_actors", wanted, names)

    async def dead_letters(
        self, tenant: str, kind: str | None, key: str | None, status: str | None, after: int, limit: int
    ) -> list[Row]:
        """Dead letters by id, after an id; `status` parked, replayed, dropped or None for all."""
        wanted = {"tenant": tenant, "kind": kind, "key": key, "status": status, "after": after, "limit": limit}
        return await self._rows("list_dead", wanted, _DEAD)

    async def dead_letter(self, id: int, tenant: str) -> Row | None:
        """One dead letter with its headers and body."""
        rows = await self._rows("dead_letter", {"id": id, "tenant": tenant}, (*_DEAD, "headers", "body"))
        return rows[0] if rows else None

    async def drop_unserved(self, id: int, tenant: str, by: str | None) -> bool:
        """Drops a dead letter of a kind that nobody serves; False for every other."""
        return bool(await self._session.run(query("drop_unserved"), {"id": id, "tenant": tenant, "by": by or ""}))

    async def runs(self, tenant: str, wanted: RunFilter, limit: int) -> list[Row]:
        """Runs that fit, the latest first."""
        return await listing.listed(self._session, tenant, wanted, limit)

    async def run(self, tenant: str, wanted: Wanted) -> Row | None:
        """One run with its moments."""
        return await listing.described(self._session, tenant, wanted)

    async def partitions(self) -> list[Row]:
        """Every lane: who owns it, and how far it has come."""
        names = (
            "lane", "group", "partition", "owner", "epoch", "checkpoint", "position", "alive", "pending", "outbox",
            "standby", "stream",
        )  # fmt: skip
        return await self._rows("list_partitions", (), names)

    async def pods(self) -> list[Row]:
        """Pods that live, or lived a minute ago; `expires_in_s` is negative for the dead."""
        names = ("id", "group", "host", "pid", "code_version", "started_at", "expires_in_s", "leaving")
        return await self._rows("list_pods", (), names)

    async def absent_groups(self) -> list[tuple[str, float]]:
        """(group, Unix time since when the stream is kept for it) of groups in which no pod lives."""
        return [(row[0], row[1]) for row in await self._session.run(query("absent_groups"))]

    async def away(self) -> list[str]:
        """Which of the log's servers (`2 of 3`) do not answer, while others do."""
        return []

    async def capabilities(self) -> list[Any]:
        """The capabilities of every kind that was registered; `served` tells which a living pod has."""
        found = await self._session.run(query("capabilities"))
        return [msgspec.json.decode(text) | ({} if served else {"served": False}) for text, served in found]

    async def ready(self) -> bool:
        """Whether the database answers. Raises LogUnavailable."""
        return bool(await self._session.run("SELECT 1", timeout_s=2.0))

    async def _rows(self, name: str, wanted: Any, names: Sequence[str]) -> list[Row]:
        return [dict(zip(names, row, strict=True)) for row in await self._session.run(query(name), wanted)]


_DELETED = SYSTEM_EVENT_PREFIX + DELETED
_DEAD = (
    "id", "tenant", "kind", "key", "method", "command_id", "code", "error", "attempts", "parked_at", "status",
    "resolved_at", "resolved_by",
)  # fmt: skip


def _event(row: Sequence[Any]) -> LogEvent:
    tenant, kind, key, seq, lane, position, type_, version, at, command_id, payload, *rest = row
    at_text = at.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    raw = msgspec.Raw(payload.encode())
    return LogEvent(tenant, kind, key, seq, lane, position, type_, version, at_text, command_id, raw, *rest)
