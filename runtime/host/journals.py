"""Where executions keep their steps: items of the commit pipeline, and for one that starts anew, the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from runtime.host.items import Start, Step
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable
from runtime.journal import Entry, Steps, entries_of

_log = logging.getLogger("troupe.executions")

RETRY_S = 0.2


class JournalSource(Protocol):
    """Reading the log; see runtime.postgres.reading.PostgresReader."""

    async def steps(self, actor: str, partition: int, command_id: str) -> list[str]:
        """The payloads of the step events of a command, in order. Raises LogUnavailable."""


class Journals:
    """Those of one pod's executions. `put` puts a Step into the next batch."""

    def __init__(self, source: JournalSource, put: Callable[[Step], None]) -> None:
        self._source = source
        self._put = put

    async def open(self, start: Start) -> Journal:
        """The journal of an execution that is about to run; what it holds is read only if it may have run before."""
        command = start.command
        payloads: list[str] = []
        while start.known:
            try:
                payloads = await self._source.steps(command.actor, command.lane.partition, command.id)
                break
            except LogUnavailable as error:
                _log.warning("the journal of %s cannot be read yet: %s", command, error)
                await asyncio.sleep(RETRY_S)
        return Journal(start, self._put, await asyncio.to_thread(entries_of, payloads) if payloads else [])


class Journal:
    """The journal of one attempt. `steps` is for the handler's event loop, all else for the pod's."""

    def __init__(self, start: Start, put: Callable[[Step], None], recorded: list[Entry]) -> None:
        command = start.command
        self._start = start
        self._lane: Lane = command.lane
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._open: set[asyncio.Future[None]] = set()
        self._closed = False
        self.steps = Steps(
            str(command.address), f"{command.actor}/{command.id}", command.id, start.attempt, self, recorded
        )

    async def confirm(self) -> None:
        """See runtime.journal.Keeper: a batch of its own fence says that the lane is still this pod's."""
        await self._commit(None)

    async def keep(self, entry: Entry) -> None:
        """See runtime.journal.Keeper."""
        await self._commit(entry)

    async def settle(self) -> None:
        """Ends the attempt: no step is recorded any more but those whose commit is under way; returns after these.

        So the next attempt finds in the log all that this one has completed.
        """
        self._closed = True
        if self._open:
            await asyncio.wait(self._open)

    async def _commit(self, entry: Entry | None) -> None:
        committed = asyncio.run_coroutine_threadsafe(self._committed(entry), self._loop)
        await asyncio.wrap_future(committed)

    async def _committed(self, entry: Entry | None) -> None:
        if self._closed or not self._lane.alive:
            raise asyncio.CancelledError(f"{self._start.command} is another attempt's now")
        answered: asyncio.Future[None] = self._loop.create_future()
        self._open.add(answered)
        answered.add_done_callback(self._open.discard)
        self._put(Step(self._lane, self._start.command, entry, answered))
        await asyncio.shield(answered)
