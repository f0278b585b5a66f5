"""Where executions keep their steps: items of the commit pipeline, and for one that starts anew, the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runtime.clock import Clock
from runtime.flow.paced import PacedSteps, paced_steps
from runtime.flow.saga import ContinueAsNew
from runtime.flow.state import RunState
from runtime.host.forks import Forks, JournalSource
from runtime.host.items import Start, Step
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable
from runtime.journal import STEP, Entry, Keeper, Recorder, Steps, entries_of
from runtime.kind import SYSTEM_EVENT_PREFIX, Execution
from runtime.mail import ANSWER, Mail, Said, said_of
from runtime.suspension import Suspended, Suspension
from runtime.yields import Yields, divided
from schemas.headers import FORK

T = TypeVar("T")

_log = logging.getLogger("troupe.executions")

RETRY_S = 0.2


class Journals:
    """Those of one pod's executions. `put` puts a Step into the next batch; for `suspend_after_s` see PodSettings."""

    def __init__(
        self, source: JournalSource, put: Callable[[Step], None], clock: Clock, suspend_after_s: float, partitions: int
    ) -> None:
        self._source = source
        self._put = put
        self._clock = clock
        self._suspend_after_s = suspend_after_s
        self._forks = Forks(source, put, partitions)

    async def open(self, start: Start) -> Journal:
        """The journal of an execution that is about to run; what it holds is read only if it may have run before."""
        command = start.command
        events: list[tuple[int, str, str]] = []
        while start.known:
            try:
                after = start.state.first if isinstance(start.state, RunState) else 0
                events = await self._source.journal(command.actor, command.lane.partition, command.id, after)
                break
            except LogUnavailable as error:
                _log.warning("the journal of %s cannot be read yet: %s", command, error)
                await asyncio.sleep(RETRY_S)
        if FORK in command.headers:
            events = await self._forks.begun(start, events)
        entries, said = await asyncio.to_thread(_divided, events, start.state) if events else ([], [])
        return Journal(start, self._put, self._clock, self._suspend_after_s, entries, said)


def _divided(events: list[tuple[int, str, str]], state: object) -> tuple[list[Entry], list[Said]]:
    """What it has completed, and what it was told; of a run that has continued as new, since then."""
    if isinstance(state, RunState) and state.generation:
        events = [event for event in events if state.has(event[0], event[1] == SYSTEM_EVENT_PREFIX + STEP)]
    entries = entries_of([payload for _, type_, payload in events if type_ == SYSTEM_EVENT_PREFIX + STEP])
    said = said_of([
        (seq, type_.removeprefix(SYSTEM_EVENT_PREFIX), payload)
        for seq, type_, payload in events
        if type_ != SYSTEM_EVENT_PREFIX + STEP
    ])  # fmt: skip
    return entries, said


def _steps(start: Start, keeper: Keeper, clock: Clock, entries: list[Entry]) -> Recorder:
    command, method = start.command, start.kind.methods[start.command.method]
    key = f"{command.actor}/{command.id}"
    if isinstance(method, Execution) and method.paced:
        return paced_steps(
            start.state, str(command.address), key, command.id, start.attempt, keeper, entries, clock, method.step_retry
        )
    return Steps(str(command.address), key, command.id, start.attempt, keeper, entries)


class Journal:
    """The journal of one attempt. `steps` and `mail` are for the handler's event loop, all else for the pod's."""

    def __init__(
        self,
        start: Start,
        put: Callable[[Step], None],
        clock: Clock,
        suspend_after_s: float,
        entries: list[Entry],
        said: list[Said],
    ) -> None:
        command = start.command
        self._start = start
        self._lane: Lane = command.lane
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._open: set[asyncio.Future[None]] = set()
        self._closed = False
        steps, yielded = divided(entries)
        self.steps = _steps(start, self, clock, steps)
        self.yields = Yields(command.id, start.attempt, self, yielded)
        self.steps.begun |= yielded > 0
        self.steps.begun |= any(message.what == ANSWER for message in said)  # it has asked somebody for something
        self.mail = Mail(self.steps, clock.now)
        self._suspension = Suspension(self.steps, self.mail, suspend_after_s)
        for message in said:
            self.mail.post(message)

    async def through(self, job: Awaitable[T]) -> T:
        """Runs the handler, in its own event loop. For what it raises see Steps.through and Suspension.through."""
        self.mail.open()
        try:
            return await self._suspension.through(self.steps.through(job))
        except ContinueAsNew as again:
            assert isinstance(self.steps, PacedSteps)
            await self.steps.continue_as_new(again, *self.mail.untaken())
            raise Suspended(self.mail.now(), self.mail) from None

    @property
    def committing(self) -> bool:
        """Whether the commit of a step is under way."""
        return bool(self._open)

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
