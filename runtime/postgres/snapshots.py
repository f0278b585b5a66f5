"""Snapshots on Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from runtime.host.ports import LogUnavailable
from runtime.host.reading import SnapshotRow
from runtime.postgres.arrays import plain, texts
from runtime.postgres.connection import Connection, incarnation
from runtime.postgres.queries import query
from runtime.postgres.session import Session


class PostgresSnapshots:
    """Writes and finds snapshots, on a connection of its own.

    A snapshot of a log that an older copy has replaced must not come into the copy: it would be folded further.
    """

    def __init__(self, url: str) -> None:
        self._session = Session(url, 30.0)
        self._incarnation: str | None = None

    async def save(self, rows: Sequence[SnapshotRow]) -> None:
        """Keeps snapshots; an older one never replaces a newer one of the same fold.

        Raises LogUnavailable when another log answers than the one before, until `forget`.
        """
        actors, tenants, seqs, versions, states = zip(*rows, strict=True)
        parameters = (plain(actors), texts(tenants), plain(seqs), texts(versions), texts(states))
        async with self._of_one_log() as connection:
            await connection.execute(query("save_snapshots"), parameters)

    async def find(self, actor: str, fold_version: str) -> tuple[int, str] | None:
        """(seq, state as JSON) of an actor's snapshot, if one was made by this fold."""
        async with self._of_one_log() as connection:
            cursor = await connection.execute(query("find_snapshots"), ([actor], [fold_version]))
            row = await cursor.fetchone()
        return (row[1], row[2]) if row is not None else None

    def forget(self) -> None:
        """Nothing is left of what was read before: the log that answers next is the right one."""
        self._incarnation = None

    @asynccontextmanager
    async def _of_one_log(self) -> AsyncIterator[Connection]:
        known = self._incarnation  # as it was when the rows were made: `forget` may come while one waits
        async with self._session.connection() as connection:
            found = await incarnation(connection)
            if known not in (None, found):
                raise LogUnavailable("Postgres was started anew, perhaps with an older copy of the log")
            self._incarnation = found
            yield connection

    async def close(self) -> None:
        """Closes the connection."""
        await self._session.close()
