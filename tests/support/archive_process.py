"""Archives the counters of a log in a process of its own, which SIGKILLs itself at one step.

    python -m tests.support.archive_process POSTGRES_URL PARTITIONS DIRECTORY STEP
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.archive.files import FileStore
from runtime.clock import system_clock
from runtime.host.archiver import Archiver
from runtime.host.archiving import Packed
from runtime.postgres.archive_log import PostgresArchiveLog
from runtime.postgres.reading import PostgresReader
from runtime.postgres.snapshots import PostgresSnapshots
from schemas.segment import Segment
from tests.support.archiving import ALL_BUT_FIVE
from tests.support.kinds import counter

STEPS = ("packed", "half-written", "written", "read-back", "recorded", "second-recorded", "never")


def die() -> None:
    """SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingStore(FileStore):
    """A directory, and a process that dies beside it."""

    def __init__(self, directory: Path, step: str) -> None:
        super().__init__(directory.as_uri(), str(directory))
        self._step = step

    async def put(self, name: str, data: bytes) -> None:
        if self._step == "packed":
            die()
        await super().put(name, data)
        if self._step == "written":
            die()

    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        found = await super().get(name, start, length)
        if self._step == "read-back":
            die()
        return found


class DyingLog(PostgresArchiveLog):
    """The log, and a process that dies as soon as it has recorded something."""

    def __init__(self, url: str, step: str) -> None:
        super().__init__(url)
        self._left = {"recorded": 1, "second-recorded": 2}.get(step, 0)

    async def record(self, store: str, segment: Segment, packed: Sequence[Packed]) -> None:
        await super().record(store, segment, packed)
        self._left -= 1
        if self._left == 0:
            die()


async def main(url: str, partitions: str, directory: str, step: str) -> None:
    """Archives, or dies."""
    if step == "half-written":  # the file is there in full, and not under its name
        sys.addaudithook(lambda event, _: die() if event == "os.rename" else None)
    reader, snapshots = PostgresReader(url, int(partitions)), PostgresSnapshots(url)
    archiver = Archiver(DyingLog(url, step), reader, snapshots, DyingStore(Path(directory), step), system_clock)
    await archiver.run(counter, range(int(partitions)), ALL_BUT_FIVE)
    for one in (archiver, reader, snapshots):
        await one.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
