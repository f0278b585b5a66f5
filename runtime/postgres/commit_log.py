"""The commit path on Postgres: two pipelined round trips, every statement prepared, arrays instead of rows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from runtime.errors import NotConnected
from runtime.host.ports import (
    PENDING_LIMIT,
    TAIL_LIMIT,
    Changes,
    Found,
    InboxEntry,
    LogRefused,
    LogUnavailable,
    PendingRow,
    Wanted,
)
from runtime.kind import StoredEvent
from runtime.postgres.arrays import hexes, numbers, plain, texts
from runtime.postgres.connection import COMMIT_SETTINGS, Connection, close, connect
from runtime.postgres.queries import query


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
        self._open = AsyncExitStack()

    async def begin(self, wanted: Wanted) -> Found:
        try:
            connection = await self._ready()
            # The pipeline stays open until the commit: leaving it is a round trip of its own.
            pipeline = await self._open.enter_async_context(connection.pipeline())
            await connection.execute("BEGIN")
            cursors = await self._ask(connection, wanted)
            await pipeline.sync()
            return await _gather(cursors)
        except BaseException as error:
            raise await self._failed(error) from error

    async def commit(self, changes: Changes) -> None:
        connection = self._connection
        if connection is None:
            raise LogUnavailable("the connection to Postgres broke between reading and writing")
        try:
            for name, parameters in _writes(changes, self._code_version):
                await connection.execute(query(name), parameters)
            await connection.execute("COMMIT")
            await self._open.aclose()
        except BaseException as error:
            raise await self._failed(error) from error

    async def rollback(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            await self._open.aclose()
            if connection.info.transaction_status != TransactionStatus.IDLE:
                await connection.execute("ROLLBACK")
        except BaseException as error:
            raise await self._failed(error) from error

    async def probe(self, lanes: Sequence[tuple[int, int, int]]) -> dict[int, int]:
        try:
            connection = await self._ready()
            lane_ids, epochs, seqs = zip(*lanes, strict=True)
            cursor = await connection.execute(
                query("probe"), (plain(lane_ids), plain(epochs), plain(seqs), self._pod)
            )
            return dict(await cursor.fetchall())
        except BaseException as error:
            raise await self._failed(error) from error

    async def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            await self._leave_pipeline()
        self._open = AsyncExitStack()
        await close(connection)

    async def _leave_pipeline(self) -> None:
        try:
            await self._open.aclose()
        except (psycopg.Error, OSError):
            pass  # the error that brought us here, again

    async def _ready(self) -> Connection:
        if self._connection is None:
            connection = await connect(self._url, settings=COMMIT_SETTINGS | {"lock_timeout": "2s"})
            ttl_ms = int(self._ttl_s * 1000)
            name = "transaction_timeout" if connection.info.server_version >= 170000 else "statement_timeout"
            await connection.execute("SELECT set_config(%s, %s, false)", (name, str(ttl_ms)))
            self._connection = connection
        return self._connection

    async def _failed(self, error: BaseException) -> BaseException:
        """What to raise for `error`, with no transaction left open."""
        # A broken uniqueness means that what this pod holds in memory is not what the log holds: that is no message's
        # fault, so it counts as a broken connection, after which everything is read again.
        refused = isinstance(error, (psycopg.DataError, pg.QueryCanceled, pg.ProgramLimitExceeded))
        if refused and self._connection is not None and not self._connection.closed:
            try:
                async with asyncio.timeout(self._ttl_s):
                    await self._leave_pipeline()
                    await self._connection.execute("ROLLBACK")
                return LogRefused(f"Postgres refused the batch: {error}")
            except (psycopg.Error, OSError, TimeoutError):
                pass  # broken after all
        await self.close()
        if refused or isinstance(error, pg.TransactionTimeout):
            return LogRefused(f"Postgres refused the batch: {error}")
        if isinstance(error, (psycopg.Error, OSError, NotConnected)):
            return LogUnavailable(f"the connection to Postgres broke: {error}")
        return error

    async def _ask(self, connection: Connection, wanted: Wanted) -> dict[str, Any]:
        """Sends the read statements; the fence first, so that later ones see all that an older owner wrote."""
        lanes, epochs, checkpoints, anchors, positions = zip(*wanted.fences, strict=True)
        cursors: dict[str, Any] = {}

        async def ask(name: str, *parameters: Any) -> None:
            cursors[name] = await connection.execute(query(name), parameters)

        await ask(
            "fence", plain(lanes), plain(epochs), plain(checkpoints), plain(anchors), plain(positions), self._pod
        )
        for name, pairs in (
            ("find_inbox", wanted.commands),
            ("find_pending_ids", wanted.held),
            ("find_timers", wanted.timers),
        ):
            if pairs:
                actors, ids = zip(*pairs, strict=True)
                await ask(name, plain(actors), texts(ids))
        if wanted.next_pending:
            lane_ids, actors = zip(*wanted.next_pending, strict=True)
            await ask("next_pending", plain(lane_ids), plain(actors), PENDING_LIMIT)
        if wanted.dead_letters:
            await ask("find_parked", plain(wanted.dead_letters))
        if wanted.cold:
            actors, partitions, versions = zip(*wanted.cold, strict=True)
            await ask("find_snapshots", plain(actors), texts(versions))
            await ask("find_tails", plain(actors), plain(partitions), texts(versions), TAIL_LIMIT + 1)
        return cursors


async def _gather(cursors: dict[str, Any]) -> Found:
    async def rows(name: str) -> list[Any]:
        cursor = cursors.get(name)
        return [] if cursor is None else await cursor.fetchall()

    lanes = frozenset([row[0] for row in await rows("fence")])
    inbox = {(row[0], row[1]): InboxEntry(*row[2:]) for row in await rows("find_inbox")}
    pending = {(row[0], row[1]): row[2] for row in await rows("find_pending_ids")}
    timers = {(row[0], row[1]): row[2] for row in await rows("find_timers")}
    snapshots = {row[0]: (row[1], row[2]) for row in await rows("find_snapshots")}
    tails: dict[str, list[StoredEvent]] = defaultdict(list)
    for row in await rows("find_tails"):
        tails[row[0]].append(StoredEvent(*row[1:]))
    next_pending: dict[str, list[PendingRow]] = defaultdict(list)
    for row in await rows("next_pending"):
        next_pending[row[1]].append(PendingRow(*row))
    parked = frozenset([row[0] for row in await rows("find_parked")])
    return Found(lanes, inbox, pending, next_pending, timers, snapshots, tails, parked)


def _writes(changes: Changes, code_version: str) -> list[tuple[str, tuple[Any, ...]]]:
    """(statement, parameters) of everything in `changes`, in the order in which they are written."""
    out: list[tuple[str, tuple[Any, ...]]] = []
    if changes.actors:
        actors, tenants, kinds, keys, lanes, parts = zip(*changes.actors, strict=True)
        columns = (plain(actors), texts(tenants), texts(kinds), texts(keys), plain(lanes), plain(parts))
        out.append(("insert_actors", columns))
    if changes.events:
        c = list(zip(*changes.events, strict=True))
        out.append(("insert_events", (code_version, *map(plain, c[:7]), *map(texts, c[7:]))))
    if changes.inbox_forgotten:
        actors, ids = zip(*changes.inbox_forgotten, strict=True)
        out.append(("delete_inbox", (plain(actors), texts(ids))))
    if changes.inbox:
        c = list(zip(*changes.inbox, strict=True))
        out.append(("insert_inbox", (plain(c[0]), texts(c[1]), *map(plain, c[2:6]), texts(c[6]))))
    if changes.pending_done:
        actors, ids = zip(*changes.pending_done, strict=True)
        out.append(("delete_pending", (plain(actors), texts(ids))))
    if changes.pending:
        c = list(zip(*changes.pending, strict=True))
        out.append((
            "insert_pending",
            (plain(c[0]), plain(c[1]), *map(texts, c[2:7]), plain(c[7]), texts(c[8]), plain(c[9]), plain(c[10]),
             numbers(c[11]), texts(c[12]), hexes(c[13]), texts(c[14])),
        ))  # fmt: skip
    if changes.pending_updates:
        c = list(zip(*changes.pending_updates, strict=True))
        out.append(
            ("update_pending", (plain(c[0]), texts(c[1]), texts(c[2]), plain(c[3]), numbers(c[4]), texts(c[5])))
        )
    return out + _rarer_writes(changes)


def _rarer_writes(changes: Changes) -> list[tuple[str, tuple[Any, ...]]]:
    out: list[tuple[str, tuple[Any, ...]]] = []
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
    return out
