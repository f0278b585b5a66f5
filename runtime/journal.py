"""The journal of an execution: the recorded results of its steps, so that a step which is completed never runs again.

    receipt = await ctx.step("charge", charge, order, returns=Receipt)

Each completed step is an event of the engine's own on the actor (`troupe.step`), committed before its result is given
to the handler. An execution that starts anew gets the recorded results instead of running the steps again.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Any, TypeVar

from runtime.activity import outside
from runtime.ambient.step import in_step
from runtime.errors import BadResult
from runtime.recorder import CANCELLED, CONFIG, STEP, Entry, Keeper, Recorder, StepsDiverged, entries_of

__all__ = ["CANCELLED", "STEP", "Entry", "Keeper", "Recorder", "Steps", "StepsDiverged", "entries_of"]

T = TypeVar("T")

_log = logging.getLogger("troupe.executions")

MAX_STEPS = 1_000_000
"""Steps of one run, whose entries an attempt that starts anew has in memory: some gigabyte."""

MANY_STEPS = 10_000
"""From here on a warning advises to divide the work."""


class Steps(Recorder):
    """The steps of one attempt at a command: of a function, or of an async handler.

    Replaying follows the simplest rule that is right for steps in a row and for steps side by side: what the handler's
    own task asks for must be, one after the other, what its own task completed before; what other tasks (gather, task
    groups) ask for is found by name and occurrence, whatever the order in which they completed. Entries that nobody
    asked for when the handler returns are a divergence as well. So steps side by side have names of their own.
    """

    def __init__(
        self, actor: str, key: str, run: str, attempt: int, keeper: Keeper, recorded: Sequence[Entry] = ()
    ) -> None:
        super().__init__(actor, key, run, attempt, keeper, recorded)
        recorded = [entry for entry in self.journal if not entry.step.startswith(CONFIG)]
        self._noting: set[asyncio.Task[None]] = set()
        self._line = [(entry.step, entry.occurrence) for entry in recorded if not entry.concurrent]
        self._next = 0
        mark = next((at for at, entry in enumerate(self.journal) if entry.step == CANCELLED), len(self.journal))
        # What other tasks had completed by then: it comes first again, and who undoes things knows of it.
        self._before = {(entry.step, entry.occurrence) for entry in self.journal[:mark] if entry.concurrent}
        self._asked: Counter[str] = Counter()
        self._left = {(entry.step, entry.occurrence) for entry in recorded}
        self._task: asyncio.Task[Any] | None = None
        self._others: set[asyncio.Task[Any]] = set()
        self._failed: str | None = None
        self._diverged: StepsDiverged | None = None
        self._marked = False
        self._keeping = 0

    @property
    def own(self) -> asyncio.Task[Any] | None:
        """The handler's own task, once it runs."""
        return self._task

    def release(self) -> None:
        """See Recorder.release."""
        super().release()
        self._task = None

    @property
    def replaying(self) -> bool:
        """See Recorder.replaying."""
        return self._next < len(self._line)

    def _note(self, entry: Entry) -> None:
        """See Recorder._note. What runs in a thread without a loop takes no steps, and has nothing to be replayed."""
        try:
            task = asyncio.get_running_loop().create_task(self._keeper.keep(entry), context=outside())
        except RuntimeError:
            return
        self._noting.add(task)

    async def _noted(self) -> None:
        while self._noting:
            await self._noting.pop()

    def cancel(self, reason: str) -> None:
        """Tells the handler, by asyncio.CancelledError, once it has done again all that it did before.

        Steps that it takes after that are recorded as any others: it may undo what it did. Later calls do nothing.
        """
        if self._cancel is None:
            self._cancel = reason
            self._throw()

    def _throw(self) -> None:
        if self._cancel is None or self._thrown or self._closed or self._keeping or self._before or self._task is None:
            return
        if self._next < len(self._line):
            if self._line[self._next] != (CANCELLED, 0):
                return
            self._pass_mark()
        self._thrown = True
        self._task.cancel(self._cancel)

    def _pass_mark(self) -> None:
        self._next += 1
        self._left.discard((CANCELLED, 0))
        self._thrown = self._marked = True

    async def through(self, job: Awaitable[T]) -> T:
        """Runs the handler, in the task that is its own. Steps that still run when it ends are cancelled.

        Raises Cancelled when it was cancelled and ended by that.
        """
        self._task = asyncio.current_task()
        if self._cancel is not None and not self.begun:
            if inspect.iscoroutine(job):
                job.close()
            raise self._cancelled()
        if self._cancel is not None:
            asyncio.get_running_loop().call_soon(self._throw)
        try:
            result = await job
            await self._noted()
            if self._diverged is not None:  # the handler caught it
                raise self._diverged
            if self._left:
                name, occurrence = min(self._left)
                raise self._divergence(f"step {name!r} (occurrence {occurrence}) is recorded, and nobody asked for it")
            return result
        except asyncio.CancelledError:
            if not self._thrown:
                raise
            raise self._cancelled() from None
        finally:
            self._closed = True
            for task in self._others:
                task.cancel()

    def only_waits(self, waiting: Container[asyncio.Task[Any]]) -> bool:
        """See Recorder.only_waits; tasks beside the handler's own are its Activity's concern."""
        return self._task in waiting

    async def due(self, name: str, seconds: float, now: Callable[[], float]) -> float:
        """See Recorder.due; it is recorded."""

        async def count() -> float:
            return now() + seconds

        return float(await self.wait(name, count))

    async def pass_time(self, name: str, seconds: float, wait: Callable[[], Awaitable[None]]) -> None:
        """See Recorder.pass_time: once `due` is recorded, there is nothing to add."""
        await wait()

    async def _entry(self, name: str, run: Callable[[int, Entry], Awaitable[None]], asked: Any = None) -> Entry:
        """See Recorder._entry. What was asked is not compared."""
        task = asyncio.current_task()
        assert task is not None
        own = task is self._task
        self._check(name)
        occurrence = self._asked[name]
        self._asked[name] += 1
        self._calls += 1
        entry = self._recorded(name, occurrence, own)
        if entry is not None:
            return entry
        if not own:
            self._others.add(task)
        try:
            await self._noted()
            if self._thrown and not self._marked:
                self._marked = True
                await self._keep(Entry(self._run, CANCELLED, 0, self._attempt))
            entry = Entry(self._run, name, occurrence, self._attempt, not own)
            await run(occurrence, entry)
            await self._keep(entry)
        except BaseException as error:
            if isinstance(error, Exception) or (own and not self._thrown):
                self._failed = self._failed or name
            raise
        finally:
            self._others.discard(task)
        return entry

    async def _keep(self, entry: Entry) -> None:
        """Keeps an entry. Cancelling waits meanwhile: where it came must follow from what is recorded."""
        self._keeping += not entry.concurrent
        try:
            await self._keeper.keep(entry)
            if self.committed is not None:
                self.committed()
        finally:
            self._keeping -= not entry.concurrent
            if self._cancel is not None:
                asyncio.get_running_loop().call_soon(self._throw)

    def _check(self, name: str) -> None:
        self.check_open()
        if in_step.get():
            raise BadResult(f"step {name!r} is taken within another step: take it in the handler itself")
        if self._diverged is not None:
            raise self._diverged
        if self._failed is not None:
            raise BadResult(
                f"step {name!r} is taken after step {self._failed!r} failed, of which the journal knows nothing: let "
                "the error out of the handler, catch it within the step, or raise Rejected there, which is recorded"
            )
        if self._calls >= MAX_STEPS:
            raise BadResult(f"a run takes at most {MAX_STEPS} steps: divide its work among several commands")
        if self._calls == MANY_STEPS:
            text = "%s has taken %d steps: starting it anew takes long; divide its work among several commands"
            _log.warning(text, self._actor, MANY_STEPS)

    def _recorded(self, name: str, occurrence: int, own: bool) -> Entry | None:
        place = (name, occurrence)
        if own and self._next < len(self._line):
            expected = self._line[self._next]
            if expected == (CANCELLED, 0):
                self._pass_mark()
                raise asyncio.CancelledError(self._cancel)
            if expected != place:
                recorded, times = expected
                self._diverged = self._divergence(
                    f"its next step was {recorded!r} (occurrence {times}), and now {name!r} (occurrence {occurrence}) "
                    "is asked for"
                )
                raise self._diverged
            self._next += 1
        self._left.discard(place)
        self._before.discard(place)
        if self._cancel is not None:
            asyncio.get_running_loop().call_soon(self._throw)
        return self._entries.get(place)

    def _divergence(self, what: str) -> StepsDiverged:
        return StepsDiverged(
            f"{self._actor}, run {self._run}: the handler left its journal: {what}. It must take the same steps again: "
            "deploy code that does and replay its dead letter, or drop it and send a command with a new id"
        )
