"""The commit path on Postgres: two pipelined round trips, every statement prepared, arrays instead of rows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from runtime.errors import NotConnected
from runtime.host.ports import (
    PENDING_LIMIT,
    TAIL_LIMIT,
    UNFINISHED_LIMIT,
    Changes,
    Found,
    InboxEntry,
    LogRefused,
    LogTimedOut,
    LogUnavailable,
    PendingRow,
    Refusal,
    Wanted,
)
from runtime.kind import StoredEvent
from runtime.postgres.arrays import bigints, hexes, ints, numbers, plain, smallints, texts, uuids
from runtime.postgres.connection import COMMIT_SETTINGS, Connection, close, connect, incarnation
from runtime.postgres.pipeline import Pipeline, Statement

SILENT_AFTER_LEASES = 5
"""The server ends a transaction after one lease; only a commit that waits for its disk may take longer."""

_REFUSED = (
    psycopg.DataError,
    UnicodeEncodeError,
    pg.QueryCanceled,
    pg.ProgramLimitExceeded,
    pg.CheckViolation,
    pg.NotNullViolation,
    pg.RaiseException,  # a trigger's
)


class PostgresCommitLog:
    """A CommitLog on one connection, made anew after it broke.

    Args:
        url: where Postgres is.
        pod: the id under which this pod owns its lanes.
        code_version: kept with each event.
        lease_ttl_s: no transaction lives longer, so that a frozen pod's locks do not outlive its lease for long.
    """

    def __init__(self, url: str, pod: str, code_version: str, lease_ttl_s: float) -> None:
        self._url = url
        self._pod = pod
        self._code_version = code_version
        self._ttl_s = lease_ttl_s
        self._connection: Connection | None = None
        self._incarnation: str | None = None
        self._pipeline: Pipeline | None = None

    async def commit_at_once(self, wanted: Wanted, changes: Changes) -> bool:
        try:
            pipeline = await self._ready()
            # What is sent up to a synchronisation point is one transaction; BEGIN and COMMIT would take a tenth longer.
            await pipeline.run([*_conditions(wanted, self._pod), *_writes(changes, self._code_version)], reads=False)
            return True
        except BaseException as error:
            failed = await self._failed(error, (*_REFUSED, psycopg.IntegrityError))
            if isinstance(failed, LogRefused) and not isinstance(failed, LogTimedOut):
                return False
            raise failed from error

    async def begin(self, wanted: Wanted) -> Found:
        try:
            pipeline = await self._ready()
            asked = _questions(wanted, self._pod)
            rows = await pipeline.run(asked, begin=True)
            return _found({name: found for (name, _), found in zip(asked, rows, strict=True)})
        except BaseException as error:
            raise await self._failed(error) from error

    async def commit(self, changes: Changes) -> None:
        if self._pipeline is None:
            raise LogUnavailable("the connection to Postgres broke between reading and writing")
        try:
            await self._pipeline.run(_writes(changes, self._code_version), end="COMMIT")
        except BaseException as error:
            raise await self._failed(error) from error

    async def rollback(self) -> None:
        if self._connection is None or self._pipeline is None:
            return
        try:
            if self._connection.info.transaction_status != TransactionStatus.IDLE:
                await self._pipeline.run([], end="ROLLBACK")
        except BaseException as error:
            raise await self._failed(error) from error

    async def probe(self, lanes: Sequence[tuple[int, int, int]]) -> dict[int, int]:
        try:
            pipeline = await self._ready()
            lane_ids, epochs, seqs = zip(*lanes, strict=True)
            (counts,) = await pipeline.run([("probe", (plain(lane_ids), plain(epochs), plain(seqs), self._pod))])
            return dict(counts)
        except BaseException as error:
            raise await self._failed(error) from error

    async def absolve(self, lanes: Sequence[tuple[int, int, int]]) -> None:
        try:
            pipeline = await self._ready()
            lane_ids, _, seqs = zip(*lanes, strict=True)
            await pipeline.run([("absolve", (plain(lane_ids), plain(seqs)))])
        except BaseException as error:
            raise await self._failed(error) from error

    async def close(self) -> None:
        """Closes the connection."""
        connection, pipeline, self._connection, self._pipeline = self._connection, self._pipeline, None, None
        if pipeline is not None:
            pipeline.close()
        await close(connection)

    async def _ready(self) -> Pipeline:
        if self._connection is None or self._pipeline is None:
            ttl_ms = int(self._ttl_s * 1000)
            connection = await connect(self._url, settings=COMMIT_SETTINGS | {"lock_timeout": f"{ttl_ms}ms"})
            name = "transaction_timeout" if connection.info.server_version >= 170000 else "statement_timeout"
            await connection.execute("SELECT set_config(%s, %s, false)", (name, str(ttl_ms)))
            # A batch whose time ran out is tried again on a new connection. If an older copy of the log has taken its
            # place meanwhile, owner and epoch may be right, and everything else that the host remembers wrong.
            found = await incarnation(connection)
            if self._incarnation not in (None, found):
                await close(connection)
                raise LogUnavailable("Postgres was started anew, perhaps with an older copy of the log")
            self._incarnation = found
            self._connection = connection
            self._pipeline = Pipeline(connection, SILENT_AFTER_LEASES * self._ttl_s)
        return self._pipeline

    async def _failed(
        self, error: BaseException, refusals: tuple[type[BaseException], ...] = _REFUSED
    ) -> BaseException:
        """What to raise for `error`, with no transaction left open."""
        # A broken uniqueness means that what this pod holds in memory is not what the log holds: that is no message's
        # fault, so it counts as a broken connection, after which everything is read again.
        refused = isinstance(error, refusals)
        timed_out = isinstance(error, (pg.QueryCanceled, pg.TransactionTimeout))
        verdict = (LogTimedOut if timed_out else LogRefused)(f"Postgres refused the batch: {error}")
        if refused and self._pipeline is not None and self._connection is not None and not self._connection.closed:
            try:
                if self._connection.info.transaction_status != TransactionStatus.IDLE:
                    async with asyncio.timeout(self._ttl_s):
                        await self._pipeline.run([], end="ROLLBACK")
                return verdict
            except (psycopg.Error, OSError, TimeoutError):
                pass  # broken after all
        await self.close()
        if refused or timed_out:
            return verdict
        if isinstance(error, (psycopg.Error, OSError, NotConnected)):
            error = LogUnavailable(f"the connection to Postgres broke: {error}")
        if isinstance(error, LogUnavailable):
            self._incarnation = None  # the host forgets everything now: nothing is left that another log could belie
        return error


def _questions(wanted: Wanted, pod: str) -> list[Statement]:
    """The statements that read; the fence first, so that later ones see all that an older owner wrote."""
    asked: list[Statement] = [("fence", _fence(wanted, pod))]
    for name, pairs in (
        ("find_inbox", wanted.commands),
        ("find_pending_ids", wanted.held),
        ("find_runs", wanted.runs),
        ("find_timers", wanted.timers),
        ("find_refused", wanted.refused),
    ):
        if pairs:
            actors, ids = zip(*pairs, strict=True)
            asked.append((name, (uuids(actors), texts(ids))))
    if wanted.next_pending:
        lane_ids, actors = zip(*wanted.next_pending, strict=True)
        asked.append(("next_pending", (ints(lane_ids), uuids(actors), str(PENDING_LIMIT))))
        asked.append(("timers_of", (uuids(actors),)))
    if wanted.dead_letters:
        asked.append(("find_parked", (plain(wanted.dead_letters),)))
    if wanted.unfinished:
        asked.append(("unfinished", (uuids(wanted.unfinished), str(UNFINISHED_LIMIT + 1))))
    if wanted.cold:
        actors, partitions, versions = zip(*wanted.cold, strict=True)
        asked.append(("find_snapshots", (uuids(actors), texts(versions))))
        asked.append(("find_tails", (uuids(actors), ints(partitions), texts(versions), str(TAIL_LIMIT + 1))))
    return asked


def _conditions(wanted: Wanted, pod: str) -> list[Statement]:
    """The statements that fail unless the lanes are the pod's, and the commands new."""
    asked: list[Statement] = [("fence_all", (*_fence(wanted, pod), str(len(wanted.fences))))]
    for name, pairs in (
        ("no_inbox", wanted.commands),
        ("no_pending_ids", wanted.held),
        ("no_refused", wanted.refused),
    ):
        if pairs:
            actors, ids = zip(*pairs, strict=True)
            asked.append((name, (uuids(actors), texts(ids))))
    if wanted.new:
        asked.append(("no_actors", (uuids(wanted.new),)))
    return asked


def _fence(wanted: Wanted, pod: str) -> tuple[str | bytes, ...]:
    lanes, epochs, checkpoints, anchors, positions = zip(*wanted.fences, strict=True)
    return (ints(lanes), *map(bigints, (epochs, checkpoints, anchors, positions)), pod)


def _found(rows: Mapping[str, list[Any]]) -> Found:
    lanes = frozenset([row[0] for row in rows.get("fence", ())])
    inbox = {(row[0], row[1]): InboxEntry(*row[2:]) for row in rows.get("find_inbox", ())}
    pending = {(row[0], row[1]): row[2] for row in rows.get("find_pending_ids", ())}
    runs = {(row[1], row[2]): PendingRow(*row) for row in rows.get("find_runs", ())}
    timers = {(row[0], row[1]): row[2] for row in (*rows.get("find_timers", ()), *rows.get("timers_of", ()))}
    snapshots = {row[0]: (row[1], row[2]) for row in rows.get("find_snapshots", ())}
    tails: dict[str, list[StoredEvent]] = defaultdict(list)
    for row in rows.get("find_tails", ()):
        tails[row[0]].append(StoredEvent(*row[1:]))
    next_pending: dict[str, list[PendingRow]] = defaultdict(list)
    for row in rows.get("next_pending", ()):
        next_pending[row[1]].append(PendingRow(*row))
    parked = frozenset([row[0] for row in rows.get("find_parked", ())])
    refused: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
    for row in rows.get("find_refused", ()):
        refused[row[0], row[1]].append(Refusal(*row[2:]))
    unfinished = [PendingRow(*row) for row in rows.get("unfinished", ())]
    return Found(lanes, inbox, pending, runs, next_pending, timers, snapshots, tails, parked, refused, unfinished)


def _writes(changes: Changes, code_version: str) -> list[Statement]:
    """(statement, parameters) of everything in `changes`, in the order in which they are written."""
    out: list[Statement] = _erasing(changes)
    if changes.actors:
        actors, tenants, kinds, keys, lanes, parts = zip(*changes.actors, strict=True)
        columns = (uuids(actors), texts(tenants), texts(kinds), texts(keys), ints(lanes), smallints(parts))
        out.append(("insert_actors", columns))
    if changes.events:
        c = list(zip(*changes.events, strict=True))
        numbered = (bigints(c[1]), ints(c[2]), bigints(c[3]), smallints(c[4]), smallints(c[5]), bigints(c[6]))
        out.append(("insert_events", (code_version, uuids(c[0]), *numbered, *map(texts, c[7:]))))
    if changes.inbox_forgotten:
        actors, ids = zip(*changes.inbox_forgotten, strict=True)
        out.append(("delete_inbox", (plain(actors), texts(ids))))
    if changes.inbox:
        c = list(zip(*changes.inbox, strict=True))
        answer = (bigints(c[2]), ints(c[3]), ints(c[4]), plain(c[5]))
        out.append(("insert_inbox", (uuids(c[0]), texts(c[1]), *answer, texts(c[6]))))
    if changes.runs:
        c = list(zip(*changes.runs, strict=True))
        out.append((
            "end_runs",
            (plain(c[0]), texts(c[1]), texts(c[2]), plain(c[3]), plain(c[4]), texts(c[5]), texts(c[6])),
        ))  # fmt: skip
    if changes.pending_done:
        actors, ids = zip(*changes.pending_done, strict=True)
        out.append(("delete_pending", (plain(actors), texts(ids))))
    if changes.pending:
        c = list(zip(*changes.pending, strict=True))
        out.append((
            "insert_pending",
            (plain(c[0]), plain(c[1]), *map(texts, c[2:7]), plain(c[7]), texts(c[8]), plain(c[9]), plain(c[10]),
             numbers(c[11]), texts(c[12]), hexes(c[13]), texts(c[14]),
             texts([None if tags is None else texts(tags) for tags in c[15]]), numbers(c[16])),
        ))  # fmt: skip
    if changes.pending_updates:
        c = list(zip(*changes.pending_updates, strict=True))
        changed = (plain(c[0]), texts(c[1]), texts(c[2]), plain(c[3]), numbers(c[4]), texts(c[5]), numbers(c[6]))
        out.append(("update_pending", changed))
    return out + _rarer_writes(changes)


def _erasing(changes: Changes) -> list[Statement]:
    """What is taken away with an actor's deletion; the rest, which may be much, follows (runtime.postgres.erasing)."""
    if not changes.erased:
        return []
    actors, seqs, tenants, versions, states = zip(*changes.erased, strict=True)
    of = (uuids(actors),)
    gone: list[Statement] = [
        (name, of)
        for name in (
            "erase_pending", "erase_paused", "erase_timers", "erase_letters", "erase_snapshots",
        )
    ]  # fmt: skip
    mark = (uuids(actors), bigints(seqs))
    base = (uuids(actors), texts(tenants), bigints(seqs), texts(versions), texts(states))
    return [*gone, ("erase_segment_actors", mark), ("erase_below", mark), ("erased_base", base)]


def _rarer_writes(changes: Changes) -> list[Statement]:
    out: list[Statement] = []
    if changes.refused:
        c = list(zip(*changes.refused, strict=True))
        out.append(("insert_refused", (plain(c[0]), texts(c[1]), *map(plain, c[2:6]), texts(c[6]), texts(c[7]))))
    if changes.outbox_done:
        lanes, ords = zip(*changes.outbox_done, strict=True)
        out.append(("delete_outbox", (plain(lanes), plain(ords))))
    if changes.outbox:
        c = list(zip(*changes.outbox, strict=True))
        out.append(("insert_outbox", (plain(c[0]), plain(c[1]), texts(c[2]), texts(c[3]), texts(c[4]), hexes(c[5]))))
    if changes.timers_done:
        actors, names = zip(*changes.timers_done, strict=True)
        out.append(("delete_timers", (plain(actors), texts(names))))
    if changes.timers:
        c = list(zip(*changes.timers.values(), strict=True))
        out.append((
            "upsert_timers",
            (plain(c[0]), texts(c[1]), plain(c[2]), numbers(c[3]), *map(texts, c[4:10]), hexes(c[10])),
        ))  # fmt: skip
    if changes.dead_letters:
        c = list(zip(*changes.dead_letters, strict=True))
        out.append((
            "insert_dead_letters",
            (plain(c[0]), plain(c[1]), *map(texts, c[2:8]), hexes(c[8]), texts(c[9]), texts(c[10]), plain(c[11])),
        ))  # fmt: skip
    if changes.paused:
        c = list(zip(*changes.paused.values(), strict=True))
        out.append(("pause", (plain(c[0]), texts(c[1]), plain(c[2]), texts(c[3]), texts(c[4]))))
    if changes.resumed:
        out.append(("resume", (plain(changes.resumed),)))
    if changes.dead_resolved:
        ids, statuses, by = zip(*changes.dead_resolved, strict=True)
        out.append(("resolve_dead_letters", (plain(ids), texts(statuses), texts(by))))
    if changes.runs_settled:
        actors, ids, statuses = zip(*changes.runs_settled, strict=True)
        out.append(("settle_runs", (plain(actors), texts(ids), texts(statuses))))
    return out
