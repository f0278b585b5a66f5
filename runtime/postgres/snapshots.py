"""Snapshots on Postgres."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.host.reading import SnapshotRow
from runtime.postgres.arrays import plain, texts
from runtime.postgres.queries import query
from runtime.postgres.session import Session


class PostgresSnapshots:
    """Writes and finds snapshots, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, 30.0)

    async def save(self, rows: Sequence[SnapshotRow]) -> None:
        """Keeps snapshots; an older one never replaces a newer one of the same fold."""
        actors, tenants, seqs, versions, states = zip(*rows, strict=True)
        parameters = (plain(actors), texts(tenants), plain(seqs), texts(versions), texts(states))
        await self._session.run(query("save_snapshots"), parameters)

    async def find(self, actor: str, fold_version: str) -> tuple[int, str] | None:
        """(seq, state as JSON) of an actor's snapshot, if one was made by this fold."""
        rows = await self._session.run(query("find_snapshots"), ([actor], [fold_version]))
        return (rows[0][1], rows[0][2]) if rows else None

    async def close(self) -> None:
        """Closes the connection."""
        await self._session.close()
