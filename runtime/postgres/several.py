"""Several servers asked as one log: whatever is about more than one place's own partitions.

Each pod works with its own server alone. Reading the whole log, trimming a stream, and groups need all of them: they
fail while one is away, except for what only looks (partitions, pods), which shows the others'.
"""

from __future__ import annotations

import asyncio
import datetime
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from runtime.host.keeping import Keeping, Needed, UnknownCommand
from runtime.host.listing import RunFilter, Wanted
from runtime.host.places import Place, server_of
from runtime.host.ports import InboxEntry, LogUnavailable, Refusal
from runtime.host.reading import Groups, LogReader, Promotion, Retirement
from runtime.kind import StoredEvent
from runtime.postgres.groups import PostgresGroups
from runtime.postgres.keeping import PostgresKeeping
from runtime.postgres.reading import PAGE, PostgresReader
from schemas.address import BadAddress, encode_token, partition_of
from schemas.wire import LogEvent

T = TypeVar("T")
Row = dict[str, Any]

CLOCK_SKEW = datetime.timedelta(seconds=300)
"""The most by which the clocks of two servers may differ."""


class WholeLog(NamedTuple):
    """What asks every server."""

    reader: LogReader
    keeping: Keeping
    groups: Groups


def whole_log(place: Place, partitions: int) -> WholeLog:
    """The whole log as the pod of a place sees it."""
    readers = [PostgresReader(url, partitions) for url in place.servers]
    keepings = [PostgresKeeping(url, place.stream) for url in place.servers]
    groups = [PostgresGroups(url) for url in place.servers]
    if len(place.servers) == 1:
        return WholeLog(readers[0], keepings[0], groups[0])
    return WholeLog(
        SeveralReaders(readers, place.server, partitions),
        SeveralKeepings(keepings, place.server, partitions),
        SeveralGroups(groups),
    )


class SeveralReaders:
    """A LogReader. `own` is the server of the pod's own partitions, which alone is asked about single actors of it."""

    def __init__(self, readers: Sequence[PostgresReader], own: int, partitions: int) -> None:
        self._readers = readers
        self._own = readers[own]
        self._partitions = partitions

    def _of(self, lane: int) -> PostgresReader:
        return self._readers[server_of(lane % self._partitions, len(self._readers))]

    async def actor(
        self, actor: str, lane: int, from_seq: int = 1, limit: int = PAGE, until: datetime.datetime | None = None
    ) -> list[LogEvent]:
        return await self._of(lane).actor(actor, lane, from_seq, limit, until)

    def stored(self, actor: str, partition: int, after_seq: int) -> AsyncIterator[list[StoredEvent]]:
        return self._of(partition).stored(actor, partition, after_seq)

    async def last_seq(self, actor: str, partition: int) -> int:
        return await self._of(partition).last_seq(actor, partition)

    async def journal(
        self, actor: str, partition: int, command_id: str, after: int = 0
    ) -> list[tuple[int, str, str]]:
        return await self._of(partition).journal(actor, partition, command_id, after)

    async def by_time(
        self,
        since: datetime.datetime,
        until: datetime.datetime,
        *,
        tenant: str | None = None,
        kind: str | None = None,
        limit: int = PAGE,
    ) -> list[LogEvent]:
        pages = await _each(self._readers, lambda one: one.by_time(since, until, tenant=tenant, kind=kind, limit=limit))
        return _merged(pages, _time_of)[:limit]

    async def session(self, tenant: str, session: str, after: Mapping[str, int], limit: int) -> list[LogEvent]:
        pages = await _each(self._readers, lambda one: one.session(tenant, session, after, limit))
        return _merged(pages, _time_of)[:limit]

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
        events: list[LogEvent] = []
        reached = dict(vector)
        for reader in self._readers:
            if len(events) == limit:
                break
            more, reached = await reader.after(
                reached, limit - len(events), tenant=tenant, kind=kind, since=since, until=until
            )
            events += more
        return events, reached

    async def inbox_entry(self, actor: str, command_id: str) -> InboxEntry | None:
        return await self._own.inbox_entry(actor, command_id)

    async def refusal(self, actor: str, command_id: str, digest: int | None) -> Refusal | None:
        return await self._own.refusal(actor, command_id, digest)

    async def pending_entry(self, actor: str, command_id: str) -> tuple[str, int, str | None, int] | None:
        return await self._own.pending_entry(actor, command_id)

    async def erase(self, actor: str, partition: int, seq: int) -> int:
        return await self._own.erase(actor, partition, seq)

    async def segments_of(self, actor: str) -> list[Row]:
        return await self._own.segments_of(actor)

    async def describe(self, actor: str) -> Row:
        return await self._own.describe(actor)

    async def actors(self, tenant: str, kind: str | None, after: tuple[str, str], limit: int) -> list[Row]:
        pages = await _each(self._readers, lambda one: one.actors(tenant, kind, after, limit))
        return _merged(pages, itemgetter("kind", "key"))[:limit]

    async def dead_letters(
        self, tenant: str, kind: str | None, key: str | None, status: str | None, after: int, limit: int
    ) -> list[Row]:
        pages = await _each(self._readers, lambda one: one.dead_letters(tenant, kind, key, status, after, limit))
        return _merged(pages, itemgetter("id"))[:limit]

    async def dead_letter(self, id: int, tenant: str) -> Row | None:
        return await self._of_letter(id).dead_letter(id, tenant)

    async def drop_unserved(self, id: int, tenant: str, by: str | None) -> bool:
        return await self._of_letter(id).drop_unserved(id, tenant, by)

    async def runs(self, tenant: str, wanted: RunFilter, limit: int) -> list[Row]:
        pages = await _each(self._readers, lambda one: one.runs(tenant, wanted, limit))
        return list(heapq.merge(*pages, key=itemgetter("since", "actor", "command_id"), reverse=True))[:limit]

    async def run(self, tenant: str, wanted: Wanted) -> Row | None:
        return await self._of(wanted.partition).run(tenant, wanted)

    def _of_letter(self, id: int) -> PostgresReader:
        return self._readers[(id - 1) % len(self._readers)]

    async def partitions(self) -> list[Row]:
        return sorted(await self._looked(lambda one: one.partitions()), key=itemgetter("lane"))

    async def pods(self) -> list[Row]:
        return sorted(await self._looked(lambda one: one.pods()), key=itemgetter("started_at"))

    async def absent_groups(self) -> list[tuple[str, float]]:
        earliest: dict[str, float] = {}
        for group, since in await self._looked(lambda one: one.absent_groups()):
            earliest[group] = min(since, earliest.get(group, since))
        return sorted(earliest.items())

    async def away(self) -> list[str]:
        found = await asyncio.gather(*[reader.ready() for reader in self._readers], return_exceptions=True)
        count = len(found)
        return [f"{n + 1} of {count}" for n, one in enumerate(found) if isinstance(one, LogUnavailable)]

    async def capabilities(self) -> list[Any]:
        found = await self._looked(lambda one: one.capabilities())
        first = {one["kind"]: one for one in reversed(found)}
        for one in found:
            if one.get("served", True):  # lanes of the other servers may have an owner still
                first[one["kind"]].pop("served", None)
        return [one for _, one in sorted(first.items())]

    async def ready(self) -> bool:
        """Whether any server answers: the others' partitions are served. Raises LogUnavailable."""
        await _any(self._readers, lambda one: one.ready())
        return True

    async def close(self) -> None:
        await _each(self._readers, lambda one: one.close())

    async def _looked(self, ask: Callable[[PostgresReader], Awaitable[list[T]]]) -> list[T]:
        """What the servers say that answer. Raises LogUnavailable when none does."""
        return [row for rows in await _any(self._readers, ask) for row in rows]


class SeveralKeepings:
    """A Keeping. What the stream is needed for is asked of all; what is deleted is the own server's."""

    def __init__(self, keepings: Sequence[PostgresKeeping], own: int, partitions: int) -> None:
        self._keepings = keepings
        self._own = keepings[own]
        self._partitions = partitions

    async def needed(self) -> Needed:
        # A group registers at one server after the other: until a kind is known everywhere, not all of its lanes say
        # what they need. So the kinds are asked for first.
        kinds = await _each(self._keepings, lambda one: one.known_kinds())
        found = await _each(self._keepings, lambda one: one.needed())
        if any(known != kinds[0] for known in kinds) or any(one.upto is None for one in found):
            return Needed(None, [])
        moments = [one.at for one in found if one.at is not None]
        return Needed(
            min(one.upto for one in found if one.upto is not None),
            [lane for one in found for lane in one.retired],
            min(moments, default=None),
        )

    async def unread_kinds(self) -> list[tuple[str, int]]:
        return [kind for found in await _each(self._keepings, lambda one: one.unread_kinds()) for kind in found]

    async def known_kinds(self) -> set[str]:
        return set().union(*await _each(self._keepings, lambda one: one.known_kinds()))

    async def several_tenants(self) -> bool:
        return await self._own.several_tenants()

    async def park_unknown(self, command: UnknownCommand) -> None:
        try:
            token = encode_token(command.key)
        except BadAddress:
            partition = 0  # it can be no actor's
        else:
            partition = partition_of(command.tenant, command.kind, token, self._partitions)
        await self._keepings[server_of(partition, len(self._keepings))].park_unknown(command)

    async def trim_inbox(self, age_s: float, oldest_message: datetime.datetime | None) -> bool:
        # What actors of another server said and may say again is answered from this one's inbox.
        others = [keeping for keeping in self._keepings if keeping is not self._own]
        found = await _each(others, lambda one: one.repeatable())
        moments = [moment - CLOCK_SKEW for moment in found if moment is not None]
        if oldest_message is not None:
            moments.append(oldest_message)
        return await self._own.trim_inbox(age_s, min(moments, default=None))

    async def vacuum(self) -> list[str]:
        return await self._own.vacuum()

    async def trim_runs(self, age_s: float) -> bool:
        return await self._own.trim_runs(age_s)

    async def erase(self) -> None:
        await self._own.erase()

    async def forget_pods(self) -> None:
        await self._own.forget_pods()

    async def close(self) -> None:
        await _each(self._keepings, lambda one: one.close())


class SeveralGroups:
    """Groups. A change is made at one server after the other: one that fails half-way is completed by asking again."""

    def __init__(self, groups: Sequence[PostgresGroups]) -> None:
        self._groups = groups

    async def groups(self) -> list[Row]:
        rows: dict[str, Row] = {}
        for found in await _any(self._groups, lambda one: one.groups()):
            for row in found:
                rows[row["group"]] = _joined(rows[row["group"]], row) if row["group"] in rows else row
        return list(rows.values())

    async def promote(self, group: str, *, without_kinds: bool = False) -> Promotion:
        done = [await one.promote(group, without_kinds=without_kinds) for one in self._groups]
        replaced = [one.replaced for one in done if one.replaced is not None]
        kinds = sorted({kind for one in done for kind in one.kinds})
        return Promotion(group, any(one.promoted for one in done), replaced[0] if replaced else None, kinds)

    async def retire(self, group: str) -> Retirement:
        done = [await one.retire(group) for one in self._groups]
        kinds = sorted({kind for one in done for kind in one.kinds})
        counts = [sum(counted) for counted in zip(*[one[2:] for one in done], strict=True)]
        return Retirement(group, kinds, *counts)

    async def close(self) -> None:
        await _each(self._groups, lambda one: one.close())


def _joined(row: Row, other: Row) -> Row:
    """One group as two servers see it."""
    lanes, owned = row["lanes"] + other["lanes"], row["lanes_owned"] + other["lanes_owned"]
    checkpoints = [one["checkpoint"] for one in (row, other)]
    retired = [one["retired_at"] for one in (row, other)]
    return row | {
        "versions": sorted({*row["versions"], *other["versions"]}),
        "current": sorted({*row["current"], *other["current"]}),
        "kinds": sorted({*row["kinds"], *other["kinds"]}),
        "pods": row["pods"] + other["pods"],
        "lanes": lanes,
        "lanes_owned": owned,
        "standby": row["standby"] or other["standby"],
        "ready": bool(lanes) and owned == lanes,
        "checkpoint": None if None in checkpoints else min(checkpoints),
        "retired_at": None if None in retired else min(retired),
    }


def _time_of(event: LogEvent) -> tuple[datetime.datetime, int, int]:
    return datetime.datetime.fromisoformat(event.at), event.lane, event.position


def _merged(pages: Iterable[list[T]], key: Callable[[T], Any]) -> list[T]:
    return list(heapq.merge(*pages, key=key))


async def _each(ports: Sequence[Any], ask: Callable[[Any], Awaitable[T]]) -> list[T]:
    """What all say, in their order."""
    return list(await asyncio.gather(*[ask(port) for port in ports]))


async def _any(ports: Sequence[Any], ask: Callable[[Any], Awaitable[T]]) -> list[T]:
    """What those say that answer. Raises LogUnavailable when none does."""
    found = await asyncio.gather(*[ask(port) for port in ports], return_exceptions=True)
    errors = [one for one in found if isinstance(one, BaseException)]
    if unexpected := [error for error in errors if not isinstance(error, LogUnavailable)]:
        raise unexpected[0]
    if len(errors) == len(found):
        raise errors[0]
    return [one for one in found if not isinstance(one, BaseException)]
