"""The documents of indexes in Postgres: full text, and pgvector where the database has it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncCursor, sql

from runtime.host.places import server_of
from runtime.index import Drop, Embed, Hit, IndexStore, Numbered, Put, Wanted, jsonpath
from runtime.postgres.queries import query
from runtime.postgres.session import Session

STATEMENT_S = 30.0
AT_ONCE = 2
"""Connections of a pod for searches; more of these wait."""


class PostgresIndex:
    """An IndexStore on one server."""

    def __init__(self, url: str) -> None:
        self._sessions = [Session(url, STATEMENT_S) for _ in range(AT_ONCE)]
        self._free: asyncio.LifoQueue[Session] | None = None
        self._vectors: str | None = None
        """The schema of the extension; empty without it."""

    @property
    def semantic(self) -> bool:
        """See IndexStore."""
        return bool(self._vectors)

    async def reached(self, actor: str, partition: int, version: str) -> int:
        """See IndexStore."""
        if self._vectors is None:
            found = await self._run(query("index_vectors"), {})
            self._vectors = found[0][0] if found else ""
        return int((await self._run(query("index_reached"), {"actor": actor, "version": version}))[0][0])

    async def write(
        self, tenant: str, actor: str, partition: int, version: str, after: int, upto: int, changes: Sequence[Numbered],
        *, anew: bool,
    ) -> bool:  # fmt: skip
        """See IndexStore."""
        where = {"tenant": tenant, "actor": actor, "version": version, "upto": upto}
        session = await self._take()
        try:
            async with session.connection() as connection, connection.transaction(), connection.cursor() as cursor:
                await cursor.execute(query("index_begin"), where)
                await cursor.execute(query("index_lock"), where)
                row = await cursor.fetchone()
                if row is None or row[0] != after:
                    return False
                if anew:
                    await cursor.execute(query("index_clear"), where)
                await _make(cursor, where, changes)
                await cursor.execute(query("index_move"), where)
                return True
        finally:
            self._give(session)

    async def by_text(self, actor: str, partition: int, wanted: Wanted, limit: int) -> list[Hit]:
        """See IndexStore."""
        asked = {"actor": actor, "text": wanted.text.replace("\0", " "), "filter": jsonpath(wanted.filters)}
        return _hits(await self._run(query("index_by_text"), asked | {"limit": limit}))

    async def by_vector(self, actor: str, partition: int, wanted: Wanted, limit: int) -> list[Hit]:
        """See IndexStore."""
        assert wanted.vector is not None
        if not self._vectors:
            return []
        asked: dict[str, Any] = {"actor": actor, "model": wanted.model, "vector": list(wanted.vector)}
        asked |= {"filter": jsonpath(wanted.filters), "least": wanted.min_likeness, "limit": limit}
        statement = sql.SQL(query("index_by_vector")).format(vector=sql.Identifier(self._vectors))
        return _hits(await self._run(statement.as_string(), asked))

    async def listed(self, actor: str, partition: int, wanted: Wanted, ids: Sequence[str] | None) -> list[Hit]:
        """See IndexStore."""
        asked: dict[str, Any] = {"actor": actor, "after": wanted.after, "ids": None if ids is None else list(ids)}
        asked |= {"filter": jsonpath(wanted.filters), "limit": wanted.limit}
        return _hits(await self._run(query("index_listed"), asked))

    async def drop(self, tenant: str | None, actor: str | None) -> int:
        """See IndexStore."""
        return int((await self._run(query("drop_documents"), {"tenant": tenant, "actor": actor}))[0][0])

    async def close(self) -> None:
        """See IndexStore."""
        for session in self._sessions:
            await session.close()

    async def _run(self, statement: LiteralString, asked: dict[str, Any]) -> list[Any]:
        session = await self._take()
        try:
            return await session.run(statement, asked)
        finally:
            self._give(session)

    async def _take(self) -> Session:
        if self._free is None:
            self._free = asyncio.LifoQueue()
            for session in self._sessions:
                self._free.put_nowait(session)
        return await self._free.get()

    def _give(self, session: Session) -> None:
        assert self._free is not None
        self._free.put_nowait(session)


async def _make(cursor: AsyncCursor[Any], where: dict[str, Any], changes: Sequence[Numbered]) -> None:
    for seq, change in changes:
        match change:
            case Put(document):
                vector = None if document.vector is None else list(document.vector)
                row = {"id": document.id, "seq": seq, "text": document.text, "model": document.model}
                row |= {"meta": msgspec.json.encode(document.meta).decode(), "embedding": vector}
                await cursor.execute(query("index_put"), where | row)
            case Drop(id):
                await cursor.execute(query("index_drop"), where | {"id": id})
            case Embed(id, vector, model):
                row = {"id": id, "seq": seq, "model": model, "embedding": list(vector)}
                await cursor.execute(query("index_embed"), where | row)


def _hits(rows: Sequence[Any]) -> list[Hit]:
    return [
        Hit(id, text, msgspec.json.decode(meta), seq, model, likeness=likeness)
        for id, text, meta, seq, model, likeness in rows
    ]


class SeveralIndexes:
    """Each actor's documents on the server of its partition."""

    def __init__(self, indexes: Sequence[PostgresIndex]) -> None:
        self._indexes = indexes

    def _of(self, partition: int) -> PostgresIndex:
        return self._indexes[server_of(partition, len(self._indexes))]

    @property
    def semantic(self) -> bool:
        """See IndexStore."""
        return any(index.semantic for index in self._indexes)

    async def reached(self, actor: str, partition: int, version: str) -> int:
        """See IndexStore."""
        return await self._of(partition).reached(actor, partition, version)

    async def write(
        self, tenant: str, actor: str, partition: int, version: str, after: int, upto: int, changes: Sequence[Numbered],
        *, anew: bool,
    ) -> bool:  # fmt: skip
        """See IndexStore."""
        one = self._of(partition)
        return await one.write(tenant, actor, partition, version, after, upto, changes, anew=anew)

    async def by_text(self, actor: str, partition: int, wanted: Wanted, limit: int) -> list[Hit]:
        """See IndexStore."""
        return await self._of(partition).by_text(actor, partition, wanted, limit)

    async def by_vector(self, actor: str, partition: int, wanted: Wanted, limit: int) -> list[Hit]:
        """See IndexStore."""
        return await self._of(partition).by_vector(actor, partition, wanted, limit)

    async def listed(self, actor: str, partition: int, wanted: Wanted, ids: Sequence[str] | None) -> list[Hit]:
        """See IndexStore."""
        return await self._of(partition).listed(actor, partition, wanted, ids)

    async def drop(self, tenant: str | None, actor: str | None) -> int:
        """See IndexStore."""
        return sum([await index.drop(tenant, actor) for index in self._indexes])

    async def close(self) -> None:
        """See IndexStore."""
        for index in self._indexes:
            await index.close()


def several_indexes(urls: Sequence[str]) -> IndexStore:
    """The documents on these servers of the log; partitions are divided over them."""
    indexes = [PostgresIndex(url) for url in urls]
    return indexes[0] if len(indexes) == 1 else SeveralIndexes(indexes)
