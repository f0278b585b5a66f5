"""An archive for a test: files below a directory, and what archives and reads the log of a system."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from runtime.archive.stores import open_store
from runtime.clock import system_clock
from runtime.host.archiver import Archived, Archiver
from runtime.host.archiving import SegmentStore
from runtime.kind import Kind
from runtime.policy import Retention
from runtime.postgres.archive_log import PostgresArchiveLog
from runtime.postgres.reading import PostgresReader
from runtime.postgres.snapshots import PostgresSnapshots
from schemas.wire import LogEvent
from tests.support.system import System

ALL_BUT_FIVE = Retention(keep_events=5, keep_for_s=0.0)


class Archive(NamedTuple):
    """What a test does with one."""

    system: System
    archiver: Archiver
    reader: PostgresReader
    directory: Path

    async def away(self, kind: Kind, retention: Retention = ALL_BUT_FIVE) -> Archived:
        """Archives what is old of a kind, in all lanes."""
        return await self.archiver.run(kind, range(self.system.partitions), retention)

    async def log(self, limit: int = 1000) -> list[LogEvent]:
        """The whole log by position, in pages."""
        events: list[LogEvent] = []
        vector: dict[int, int] = {}
        while True:
            page, vector = await self.reader.after(vector, limit=limit)
            if not page:
                return events
            events += page

    @property
    def files(self) -> list[Path]:
        """Everything in the directory, also what is not complete."""
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    @property
    def rows(self) -> int:
        """How many events are rows."""
        ((count,),) = self.system.sql("SELECT count(*) FROM events")
        return int(count)


@asynccontextmanager
async def archive(system: System, directory: Path, store: SegmentStore | None = None) -> AsyncIterator[Archive]:
    """An archive of a system whose schema is there."""
    reader = PostgresReader(system.postgres_url, system.partitions)
    snapshots = PostgresSnapshots(system.postgres_url)
    log = PostgresArchiveLog(system.postgres_url)
    found = store or open_store(directory.as_uri())
    archiver = Archiver(log, reader, snapshots, found, system_clock)
    try:
        yield Archive(system, archiver, reader, directory)
    finally:
        for one in (archiver, reader, snapshots):
            await one.close()
