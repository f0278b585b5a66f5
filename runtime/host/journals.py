"""Where executions keep their steps: items of the commit pipeline, and for one that starts anew, the log.

Handlers have an event loop of their own. What their steps want of the pod's crosses over in both directions by the
handful (runtime.host.crossing).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from runtime.clock import Clock
from runtime.flow.paced import PacedSteps, paced_steps
from runtime.flow.saga import ContinueAsNew
from runtime.flow.sending import Kept, Sender
from runtime.flow.state import RunState
from runtime.host.crossing import Crossing
from runtime.host.forks import Forks, JournalSource
from runtime.host.items import Start, Step
from runtime.host.lane import Lane
from runtime.host.ports import LogUnavailable
from runtime.host.screens import RunScreen, Screens
from runtime.journal import STEP, Entry, Recorder, Steps, entries_of
from runtime.kind import SYSTEM_EVENT_PREFIX, Execution
from runtime.mail import ANSWER, Mail, Pause, Said, said_of
from runtime.suspension import Suspended, Suspension
from runtime.tokens import NO_SECRET
from runtime.turn import Turn
from runtime.yields import Yields, divided
from schemas.headers import FORK

T = TypeVar("T")

_log = logging.getLogger("troupe.executions")

RETRY_S = 0.2

FEW = 64
"""Events of a journal that are decoded sooner than a thread can be asked to."""


class Handling(NamedTuple):
    """What a test of users' code may put in the place of time that passes, and of what steps do.

    Attributes:
        rest: waits so many seconds, while an execution waits for a time or a message.
        pause: waits so many seconds, between two attempts at a workflow's step.
        stubs: what is run instead of the functions of steps, by the steps' names.
    """

    rest: Pause = asyncio.sleep
    pause: Pause = asyncio.sleep
    stubs: Mapping[str, Callable[..., Any]] = MappingProxyType({})


LIVE = Handling()


class Journals:
    """Those of one pod's executions.

    Args:
        put: puts a Step into the next batch.
        suspend_after_s: see PodSettings.
        certain: whether nobody else can own the pod's lanes yet, see Leases.certain; called from any thread.
        partitions: of the whole log.
        secret: what its runs' tokens are proved by.
        handling: see Handling.
        screens: where what runs show goes; None: nowhere.
    """

    def __init__(
        self,
        source: JournalSource,
        put: Callable[[Step], None],
        clock: Clock,
        suspend_after_s: float,
        certain: Callable[[], bool],
        partitions: int,
        secret: bytes = NO_SECRET,
        handling: Handling = LIVE,
        screens: Screens | None = None,
    ) -> None:
        self.secret = secret
        self.handling = handling
        self.screens = screens
        self._source = source
        self.put = put
        self.clock = clock
        self.suspend_after_s = suspend_after_s
        self.certain = certain
        self._forks = Forks(source, put, partitions)
        self._ways: dict[asyncio.AbstractEventLoop, _Ways] = {}

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
        entries, said = list[Entry](), list[Said]()
        if len(events) > FEW:
            entries, said = await asyncio.to_thread(_divided, events, start.state)
        elif events:
            entries, said = _divided(events, start.state)
        return Journal(start, self, entries, said)

    def ways(self, pods: asyncio.AbstractEventLoop, handlers: asyncio.AbstractEventLoop) -> _Ways:
        """The ways between the pod's event loop and one of handlers."""
        ways = self._ways.get(handlers)
        if ways is None:
            ways = _Ways(
                Crossing(handlers, pods, _Asked.arrive),
                Crossing(pods, handlers, _Asked.left),
                Crossing(handlers, pods, _call),
            )
            self._ways[handlers] = ways
        return ways


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


def _steps(start: Start, keeper: Sender, clock: Clock, entries: list[Entry], handling: Handling) -> Recorder:
    command, method = start.command, start.kind.methods[start.command.method]
    key = f"{command.actor}/{command.id}"
    if isinstance(method, Execution) and method.paced:
        return paced_steps(
            start.state, str(command.address), key, command.id, start.attempt, keeper, entries, clock,
            method.step_retry, handling.pause,
        )  # fmt: skip
    return Steps(str(command.address), key, command.id, start.attempt, keeper, entries)


class Journal:
    """The journal of one attempt. `steps` and `mail` are for the handler's event loop, all else for the pod's."""

    def __init__(
        self,
        start: Start,
        journals: Journals,
        entries: list[Entry],
        said: list[Said],
    ) -> None:
        command = start.command
        self._start = start
        self._lane: Lane = command.lane
        self._journals = journals
        self._loop = asyncio.get_running_loop()
        self._ways: _Ways | None = None
        self._open: set[_Asked] = set()
        self._settled: asyncio.Future[None] | None = None
        self._closed = False
        steps, yielded = divided(entries) if entries else (entries, 0)
        self.steps = _steps(start, self, journals.clock, steps, journals.handling)
        self.steps.stubs = journals.handling.stubs
        self.steps.begun |= yielded > 0
        self.steps.begun |= len(said) > 0 and any(one.what == ANSWER for one in said)  # it has asked for something
        self.steps.begun |= start.begun  # it may have asked somebody, of which there is nothing here before the answer
        self.yields: Yields | None = None
        """What it yields; a workflow yields nothing."""
        if not isinstance(self.steps, PacedSteps):
            self.yields = Yields(command.id, start.attempt, self, yielded)
        self.mail = Mail(self.steps, journals.clock.now, journals.handling.rest)
        if isinstance(start.state, RunState):
            self.mail.since = start.state.heard
        self._screen: RunScreen | None = None
        if journals.screens is not None and command.session is not None:
            self._screen = RunScreen(journals.screens, command, lambda: self._closed or not self._lane.alive)
            self.steps.screen = self._screen
        self._suspension = Suspension(self.steps, self.mail, journals.suspend_after_s)
        for message in said:
            self.mail.post(message)

    def hand(self, turn: Turn) -> None:
        """Lets the handler take steps, wait and yield through its turn."""
        turn.steps_through(self.steps, self.mail)
        if self.yields is not None:
            turn.yields_through(self.yields)
        turn.secret = self._journals.secret
        turn.gated = True

    async def through(self, job: Awaitable[T]) -> T:
        """Runs the handler, in its own event loop. For what it raises see Steps.through and Suspension.through."""
        self._ways = self._journals.ways(self._loop, asyncio.get_running_loop())
        if self._screen is not None:
            self._screen.open(self._ways.shown)
        self.mail.open()
        try:
            return await self._suspension.through(self.steps.through(job))
        except ContinueAsNew as again:
            assert isinstance(self.steps, PacedSteps)
            await self.steps.continue_as_new(again, *self.mail.untaken())
            raise Suspended(self.mail.now(), self.mail) from None
        finally:
            self.steps.release()
            if self.yields is not None:
                self.yields.release()

    @property
    def committing(self) -> bool:
        """Whether the commit of a step is under way."""
        return bool(self._open)

    async def confirm(self) -> None:
        """See runtime.journal.Keeper. Called in the handler's event loop.

        While this pod's lease goes on, nobody has taken its lanes but as it gave them up itself. Else a batch of its
        own fence says whose the lane is: a pod that was frozen may have renewed a lease that was over.
        """
        certain = self._journals.certain()  # before the lane, see there
        if not certain or not self._lane.alive or self._closed:
            await self._commit(None)

    async def keep(self, entry: Entry) -> None:
        """See runtime.journal.Keeper. Called in the handler's event loop."""
        await self._commit(entry)

    def stop(self) -> None:
        """Records nothing more, whatever still runs of the attempt."""
        self.steps.stop()
        self._closed = True

    async def settle(self) -> None:
        """Ends the attempt: no step is recorded any more but those whose commit is under way; returns after these.

        So the next attempt finds in the log all that this one has completed.
        """
        self._closed = True
        if self._open:
            self._settled = self._loop.create_future()
            await self._settled

    def send(self, entry: Entry, kept: Kept) -> Callable[[], object]:
        """See runtime.flow.sending.Sender. Called in the handler's event loop."""
        assert self._ways is not None, "steps are taken within the handler"
        asked = _Asked(self, entry, self._ways.out, kept)
        self._ways.into.put(asked)
        return asked.take_back

    async def _commit(self, entry: Entry | None) -> None:
        assert self._ways is not None, "steps are taken within the handler"
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asked = _Asked(self, entry, self._ways.out, partial(_settle, answer))
        self._ways.into.put(asked)
        try:
            await answer
        except asyncio.CancelledError:
            asked.take_back()
            raise

    def begin(self, asked: _Asked) -> None:
        """Puts a step into the next batch, unless the attempt is over."""
        if self._closed or not self._lane.alive:
            asked.leave(asyncio.CancelledError(f"{self._start.command} is another attempt's now"))
        elif not asked.taken_back:
            self._open.add(asked)
            self._journals.put(Step(self._lane, self._start.command, asked.entry, asked))

    def end(self, asked: _Asked) -> None:
        """A step is committed, or will not be."""
        self._open.discard(asked)
        if self._settled is not None and not self._open and not self._settled.done():
            self._settled.set_result(None)


class _Asked:
    """What a handler wants of the pipeline: a step's entry committed, or with None the fence asked.

    `kept` and `take_back` are the handler's; all else happens in the pod's event loop, as with a future of its own.
    """

    __slots__ = ("_answered", "_journal", "_kept", "_out", "_outcome", "entry", "taken_back")

    def __init__(self, journal: Journal, entry: Entry | None, out: Crossing[_Asked], kept: Kept) -> None:
        self._journal = journal
        self.entry = entry
        self._out = out
        self._kept = kept
        self._outcome: BaseException | None = None
        self._answered = False
        self.taken_back = False
        """Nobody waits for it any more: it is not begun, if it has not been."""

    def take_back(self) -> None:
        """In the handler's loop."""
        self.taken_back = True

    def arrive(self) -> None:
        """In the pod's loop."""
        self._journal.begin(self)

    def done(self) -> bool:
        """Whether it is answered."""
        return self._answered

    def set_result(self, _: None) -> None:
        """It is committed."""
        self.leave(None)

    def set_exception(self, error: BaseException) -> None:
        """It cannot be."""
        self.leave(error)

    def cancel(self) -> None:
        """It is not this pod's any more."""
        self.leave(asyncio.CancelledError())

    def leave(self, outcome: BaseException | None) -> None:
        """Brings the answer to the handler."""
        if self._answered:
            return
        self._answered, self._outcome = True, outcome
        self._journal.end(self)
        self._out.put(self)

    def left(self) -> None:
        """In the handler's loop."""
        self._kept(self._outcome)


def _settle(answer: asyncio.Future[None], outcome: BaseException | None) -> None:
    if answer.done():
        return
    if outcome is None:
        answer.set_result(None)
    elif isinstance(outcome, asyncio.CancelledError):
        answer.cancel(*outcome.args)
    else:
        answer.set_exception(outcome)


def _call(what: Callable[[], None]) -> None:
    what()


class _Ways(NamedTuple):
    """Into the pod's event loop, out of it, and into it for what is shown."""

    into: Crossing[_Asked]
    out: Crossing[_Asked]
    shown: Crossing[Callable[[], None]]
