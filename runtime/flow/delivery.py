"""Handing over what a workflow's run waits for: one entry at a time, in the order of the log, when the run is at rest.

A replay hands over the recorded entries and begins nothing; what was under way and is still wanted when they are all
handed over is begun then (see docs/adr/0018).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Container, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from runtime.activity import ENDING_S, inside, outside
from runtime.ambient.step import in_step
from runtime.clock import Clock
from runtime.errors import BadResult
from runtime.flow import divergence
from runtime.flow.sending import Sender
from runtime.flow.state import PUBLISHED
from runtime.pace import NotDurable, Pace, place, place_of
from runtime.recorder import CANCELLED, CONFIG, Entry, Nobody, Recorder, StepsDiverged
from runtime.showing import Showing
from schemas.wire import Failure

T = TypeVar("T")

_log = logging.getLogger("troupe.executions")

MAX_REQUESTS = 1_000_000
"""Of one run, whose entries an attempt that starts anew has in memory, some gigabyte; beyond it continues as new."""

MANY_REQUESTS = 10_000
"""From here on a warning advises to continue as new."""

PATCHED = "$patched "
"""Begins the names of entries that say which way a run goes."""

MARKS = (PUBLISHED, PATCHED, CONFIG)
"""Begin the names of entries that nobody waits for."""

Carry = Callable[[int, Entry], Awaitable[None]]


class Request:
    """Something that the code waits for. `carry` fills in its entry; `job` does that, once it is begun."""

    __slots__ = ("answer", "carry", "digest", "job", "keeping", "name", "number", "occurrence", "take_back")

    def __init__(
        self, number: int, name: str, occurrence: int, digest: int, carry: Carry, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.number = number
        self.name = name
        self.occurrence = occurrence
        self.digest = digest
        self.carry = carry
        self.answer: asyncio.Future[Entry] = asyncio.Future(loop=loop)
        self.job: asyncio.Task[None] | None = None
        self.keeping = False
        self.take_back: Callable[[], object] | None = None


class Delivery(Recorder):
    """The requests of one attempt at a workflow's run. For the arguments that are not here see Recorder.

    Args:
        began: when the run began (Unix seconds).
    """

    answers_are_entries = True
    keeps_failures = True
    shows_for_good = True

    def __init__(
        self,
        actor: str,
        key: str,
        run: str,
        attempt: int,
        keeper: Sender,
        recorded: Sequence[Entry] = (),
        *,
        began: float,
        clock: Clock,
    ) -> None:
        super().__init__(actor, key, run, attempt, keeper, recorded)
        self._sender = keeper
        self._clock = clock
        journal = self.journal
        self._history = deque(journal)
        self._numbered = {entry.number: entry for entry in journal if entry.number} if journal else {}
        self._arrived: deque[Entry] = deque()
        self._requests: dict[int, Request] = {}
        self._asked: defaultdict[str, int] = defaultdict(int)
        self._handed = 0
        self._live = False
        self._keeping = 0
        self._complete = False
        self._noting: set[asyncio.Task[None]] = set()
        self._pace = Pace(self._at_rest, self._woken)
        self._main: asyncio.Task[Any] | None = None
        self._broken: BaseException | None = None
        self.now = began
        """Unix seconds at which the last entry that was handed over came to be: the same in a replay."""

    # -- the attempt ----------------------------------------------------------------------------------------------

    @property
    def own(self) -> asyncio.Task[Any] | None:
        return self._main

    @property
    def progress(self) -> object:
        return self._thrown, self._handed, self._calls

    @property
    def replaying(self) -> bool:
        """Whether something that is recorded is still to be handed over."""
        return bool(self._history)

    def showing(self) -> Showing | None:
        """See Recorder.showing."""
        one = super().showing()
        if one is not None:
            one.passing = self.replaying
        return one

    async def through(self, job: Awaitable[T]) -> T:
        """See Recorder.through. The workflow's code runs in a task and a context of its own."""
        assert inspect.iscoroutine(job)
        if self._cancel is not None and not self.begun:
            job.close()
            raise self._cancelled()
        self._main = self._pace.main(job, self._handlers(), inside(self._pace))
        try:
            result = await self._main
            self._check_end()
            return result  # type: ignore[no-any-return]  # of the job, which gives a T
        except asyncio.CancelledError:
            if self._broken is not None:
                raise self._broken from None
            if not self._thrown or self._closed:
                raise
            raise self._cancelled() from None
        except BaseException:
            if self._broken is not None:
                raise self._broken from None
            raise
        finally:
            await self._end()

    def _check_end(self) -> None:
        if self._broken is not None:  # the code caught it
            raise self._broken
        beyond = next((entry for entry in self._history if entry.number > self._calls), None)
        if beyond is not None:
            raise self._diverged(divergence.not_asked(self._actor, self._run, beyond, self._calls, "its end"))

    async def _end(self) -> None:
        stopped, self._closed = self._closed, True
        tasks = [*self._pace.tasks]
        if tasks:
            with self._pace.inside():
                for task in tasks:
                    task.cancel()
        for request in self._requests.values():
            if request.job is not None:
                request.job.cancel()
            if request.take_back is not None:
                request.take_back()
        if tasks:
            await asyncio.wait(tasks, timeout=ENDING_S)
        if stopped:
            for task in self._noting:
                task.cancel()
        elif self._noting:
            await asyncio.wait(self._noting)

    def release(self) -> None:
        """See Recorder.release."""
        super().release()
        self._sender = Nobody()
        self._main = None
        self._requests.clear()
        self._pace.release()

    def cancel(self, reason: str) -> None:
        """See Recorder.cancel. Where the workflow was told is an entry, committed before it hears of it."""
        if self._cancel is None:
            self._cancel = reason
            if self._live:
                self._tell()

    def _tell(self) -> None:
        entry = Entry(self._run, CANCELLED, 0, self._attempt, result=msgspec.Raw(msgspec.json.encode(self._cancel)))
        self._note(entry, hand_over=True)

    def only_waits(self, waiting: Container[asyncio.Task[Any]]) -> bool:
        """See Recorder.only_waits: the run is at rest, and so is all that it has asked for."""
        return (
            self._live
            and not (self._ended or self._pace.busy or self._arrived or self._noting or self._keeping)
            and all(request.job in waiting and not request.keeping for request in self._requests.values())
        )

    def fail(self, error: BaseException) -> None:
        """Ends the attempt with an error."""
        self._break(error)

    def awaited(self) -> str:
        """What the run waits for, for an error."""
        return ", ".join(request.name.removeprefix("$") for request in self._requests.values()) or "nothing"

    # -- requests -------------------------------------------------------------------------------------------------

    async def _entry(self, name: str, run: Carry, asked: Any = None) -> Entry:
        """See Recorder._entry."""
        self._check(name)
        number, occurrence = self._count(name)
        digest = divergence.digest_of(asked)
        self._recorded(number, name, asked, digest)
        request = Request(number, name, occurrence, digest, run, self._handlers())
        self._requests[number] = request
        if self._live:
            self._begin(request)
        try:
            return await request.answer
        except asyncio.CancelledError:
            self._give_up(request)
            raise

    def _check(self, name: str) -> None:
        self.check_open()
        if self._broken is not None:
            raise self._broken
        if in_step.get():
            raise BadResult(f"step {name!r} is taken within another step: take it in the workflow itself")
        if self._calls >= MAX_REQUESTS:
            raise BadResult(f"a run takes at most {MAX_REQUESTS} steps: let it go on by ctx.continue_as_new(...)")

    def _count(self, name: str) -> tuple[int, int]:
        self._calls += 1
        if self._calls == MANY_REQUESTS:
            _log.warning(
                "%s has taken %d steps: starting it anew takes long; let it go on by ctx.continue_as_new(...)",
                self._actor,
                MANY_REQUESTS,
            )
        occurrence = self._asked[name]
        self._asked[name] += 1
        return self._calls, occurrence

    def _recorded(self, number: int, name: str, asked: Any, digest: int) -> Entry | None:
        entry = self._numbered.get(number)
        if entry is not None and (entry.step != name or entry.digest != digest):
            where = place()
            raise self._diverged(divergence.asked_otherwise(self._actor, self._run, entry, name, asked, where))
        return entry

    def _give_up(self, request: Request) -> None:
        self._requests.pop(request.number, None)
        if request.job is not None and not request.keeping:
            request.job.cancel()

    # -- what comes of them ---------------------------------------------------------------------------------------

    def _begin(self, request: Request) -> None:
        request.job = asyncio.Task(self._carry_out(request), loop=self._handlers(), context=outside())

    async def _carry_out(self, request: Request) -> None:
        number, digest = request.number, request.digest
        entry = Entry(self._run, request.name, request.occurrence, self._attempt, number=number, digest=digest)
        try:
            if self._noting:  # what follows from a mark is begun when the mark is sure
                await asyncio.wait(self._noting)
            await request.carry(request.occurrence, entry)
            if self._complete:
                return  # it went on although it was cancelled: what is kept from here on is the new run's
            request.keeping = True
            self._send(request, entry)
        except BaseException as error:  # noqa: BLE001  # it ends the attempt, as what its code raises does
            self._failed(request, error)

    def _failed(self, request: Request, error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            self._break(error)
        elif not request.answer.cancelled():
            self._break(asyncio.CancelledError(f"{self._actor} is another attempt's now"))

    def _send(self, request: Request, entry: Entry) -> None:
        """Has an entry kept, and hands it over in its turn."""
        entry.at = int(self._clock.now() * 1000)
        self._keeping += 1  # also of requests that are given up meanwhile
        request.take_back = self._sender.send(entry, partial(self._kept, request, entry))

    def _kept(self, request: Request, entry: Entry, failure: BaseException | None) -> None:
        self._keeping -= 1
        request.take_back = None  # it would keep the request, and be kept by it, until a collection finds them
        if isinstance(failure, BadResult) and entry.failed is None:
            # The log does not take it, and the step has run: that it has is kept instead.
            entry.result, entry.rejected = msgspec.Raw(b"null"), None
            entry.failed = Failure(failure.code, f"{request.name.removeprefix('$')!r} cannot be recorded: {failure}")
            self._send(request, entry)
            return
        if failure is not None:
            self._failed(request, failure)
            return
        try:
            self._arrive(entry)
        except BaseException as error:  # noqa: BLE001  # as above
            self._break(error)

    def _arrive(self, entry: Entry) -> None:
        if self.committed is not None:
            self.committed()
        self._arrived.append(entry)
        if not self._pace.busy:
            self._at_rest()

    async def _keep(self, entry: Entry) -> None:
        entry.at = int(self._clock.now() * 1000)
        self._keeping += 1
        try:
            await self._keeper.keep(entry)
        finally:
            self._keeping -= 1
        self._arrive(entry)

    def _note(self, entry: Entry, *, hand_over: bool = False) -> None:
        """Keeps an entry that nobody waits for, before all that is kept later."""

        async def keep() -> None:
            try:
                if hand_over:
                    await self._keep(entry)
                else:
                    entry.at = int(self._clock.now() * 1000)
                    await self._keeper.keep(entry)
            except BaseException as error:  # noqa: BLE001  # as above
                self._break(error)

        task = asyncio.get_running_loop().create_task(keep(), context=outside())
        self._noting.add(task)
        task.add_done_callback(self._noting.discard, context=outside())

    def _at_rest(self) -> None:
        """Hands over the next entry, and the next one if nothing follows from it."""
        while not (self._closed or self._pace.busy or self._ended):
            if self._broken is not None:
                self._break(self._broken)
            elif self._history:
                self._hand_over(self._history.popleft())
            elif not self._live:
                self._go_live()
            elif self._arrived:
                self._hand_over(self._arrived.popleft())
            else:
                if not (self._requests or self._noting):
                    self._break(NotDurable(self._stuck()))
                return

    @property
    def _ended(self) -> bool:
        return self._main is None or self._main.done()

    def _go_live(self) -> None:
        self._live = True
        for request in self._requests.values():
            self._begin(request)
        if self._cancel is not None and not self._thrown:
            self._tell()

    def _hand_over(self, entry: Entry) -> None:
        self._handed += 1
        assert self._main is not None
        if entry.step == CANCELLED:
            self._cancel = msgspec.json.decode(entry.result) if self._cancel is None else self._cancel
            self._thrown = True
            with self._pace.inside():
                self._main.cancel(self._cancel)
            return
        if entry.step.startswith(MARKS):
            return
        if entry.number > self._calls:
            where = place_of(self._main)
            self._break(self._diverged(divergence.not_asked(self._actor, self._run, entry, self._calls, where)))
            return
        request = self._requests.pop(entry.number, None)
        if request is None or request.answer.done():
            if self.left_over is not None:
                self.left_over(entry)
            return
        self.now = entry.at / 1000
        self._pace.answer(request.answer, entry)

    def _stuck(self) -> str:
        where = place_of(self._main)
        return (
            f"{self._actor}, run {self._run}: every task of the workflow waits for another one, at {where}: nothing "
            "can wake it. What comes from outside is awaited by ctx (step, signal, sleep, ask …)"
        )

    def _woken(self) -> None:
        if not self._closed and not self._ended:
            where = place_of(self._main)
            text = (
                f"{self._actor}, run {self._run}: something outside woke a task of the workflow (it waits at {where}): "
                "a replay could not do the same again. Await it in a step, or let it come as a signal"
            )
            self._break(NotDurable(text))

    def _diverged(self, text: str) -> StepsDiverged:
        diverged = StepsDiverged(text)
        self._broken = self._broken or diverged
        return diverged

    def _break(self, error: BaseException) -> None:
        """The attempt ends with this error, whatever its code does."""
        self._broken = self._broken or error
        if not self._ended:
            with self._pace.inside():
                for task in list(self._pace.tasks):  # a group that aborts already would not pass it on
                    task.cancel()
