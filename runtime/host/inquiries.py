"""Running async queries: in the loop of handlers, which may block; what they read is read in the pod's own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from runtime.host.items import Start
from runtime.host.threads import HandlerLoop
from runtime.index import Hit, IndexStore, Wanted
from runtime.kind import Inquiry, Kind
from runtime.reading import PAGE, Reader, Reading
from runtime.turn import Turn
from schemas.wire import LogEvent

T = TypeVar("T")


class Readings:
    """What a pod's async queries read."""

    def __init__(self, loop: HandlerLoop, reader: Reader, store: IndexStore | None, partitions: int) -> None:
        self._loop = loop
        self._reader = reader
        self._store = store
        self._partitions = partitions
        self._home = asyncio.get_running_loop()

    async def run(self, method: Inquiry, start: Start) -> bytes:
        """What the query answers that came as a command. Raises as `answer`."""
        return await self.answer(method, start.kind, start.state, start.payload, start.turn)

    async def answer(self, method: Inquiry, kind: Kind, state: Any, payload: Any, turn: Turn) -> bytes:
        """What the query answers from a committed state. Raises what it raises, and LogUnavailable."""
        reading = _PodReading(turn.address, kind, turn.seq, self._reader, self._store, self._partitions)
        reading.home = self._home
        turn.reads_through(reading)

        async def inquire() -> bytes:
            return await method.inquire(state, payload, turn)

        return await self._loop.run(inquire())


class _PodReading(Reading):
    """Reads in the loop that its connections belong to."""

    home: asyncio.AbstractEventLoop

    async def log(self, kind: Kind | str, key: str, from_seq: int = 1, limit: int = PAGE) -> list[LogEvent]:
        return await self._there(super().log(kind, key, from_seq, limit))

    async def search(self, wanted: Wanted) -> list[Hit]:
        return await self._there(super().search(wanted))

    async def documents(self, ids: Sequence[str]) -> list[Hit]:
        return await self._there(super().documents(ids))

    async def _there(self, job: Coroutine[Any, Any, T]) -> T:
        if asyncio.get_running_loop() is self.home:
            return await job
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(job, self.home))
