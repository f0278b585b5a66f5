"""The pace of a workflow's run: whether any of its own code is ready to go on in the loop of handlers.

What the engine hands to a workflow (the result of a step, a signal, a time that has come) it hands over only when the
run is at rest: no callback of its tasks is ready. Then the order of all that its tasks do follows from the order of
what they were handed, live as in a replay, and plain asyncio (tasks, gather, queues, locks) is deterministic.

The loop of handlers (runtime.activity) tells a run apart by its context. What could wake a run from outside, or depends
on the time of day, is refused there with an error that says what to use.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from runtime.errors import BadResult

T = TypeVar("T")

_OWN = str(Path(__file__).parent)
_ASYNCIO = str(Path(asyncio.__file__).parent)

current: ContextVar[Pace | None] = ContextVar("troupe_pace", default=None)


class NotDurable(BadResult):
    """The workflow did what cannot be done again in a replay."""


class Pace:
    """The ready callbacks of one run; for the event loop of handlers.

    Args:
        at_rest: called when no callback of the run is ready any more.
        woken: called when something else than the run itself, or the engine, wakes one of its tasks.
    """

    def __init__(self, at_rest: Callable[[], None], woken: Callable[[], None]) -> None:
        self._at_rest = at_rest
        self._woken = woken
        self._ready: dict[int, asyncio.Handle] = {}
        self._number = 0
        self._begun = 0
        self._inside = False
        self.tasks: set[asyncio.Task[Any]] = set()
        """The run's tasks that have not ended."""

    def release(self) -> None:
        """The run is over: nobody is told any more."""
        self._at_rest = self._woken = _tell_nobody

    @property
    def busy(self) -> bool:
        """Whether a callback of the run goes on, or is ready to."""
        if self._inside or not self._ready:
            return self._inside
        return any(not handle.cancelled() for handle in self._ready.values())

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What happens within is the engine's doing, or the run's own."""
        before, self._inside = self._inside, True
        try:
            yield
        finally:
            self._inside = before

    def answer(self, future: asyncio.Future[T], value: T) -> None:
        """Lets the run go on with what it waits for: the engine's doing."""
        before, self._inside = self._inside, True
        try:
            future.set_result(value)
        finally:
            self._inside = before

    def main(self, job: Any, loop: asyncio.AbstractEventLoop, context: Context) -> asyncio.Task[Any]:
        """Makes the first task of the run, in its context: the engine's doing."""
        before, self._inside = self._inside, True
        try:
            return loop.create_task(job, context=context)
        finally:
            self._inside = before

    def task(self, job: Any, **options: Any) -> asyncio.Task[Any]:
        """Makes a task of the run."""
        self._begun += 1
        task = RunTask(job, self._begun, **options)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard, context=Context())
        return task

    def call_soon(
        self,
        schedule: Callable[..., asyncio.Handle],
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> asyncio.Handle:
        """Has `schedule` call `_call`, and counts that."""
        if not self._inside:
            self._woken()
        self._number = number = self._number + 1
        handle = self._ready[number] = schedule(self._call, number, callback, args, context=context)
        return handle

    def _call(self, number: int, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        del self._ready[number]
        self._inside = True
        try:
            callback(*args)
        finally:
            self._inside = False
            if not self._ready or not self.busy:
                self._at_rest()


def _tell_nobody() -> None:
    """The run is over."""


class RunTask(asyncio.Task[Any]):
    """A task of a run. Its hash is its number: asyncio keeps tasks in sets, whose order must be that of a replay."""

    def __init__(self, job: Any, number: int, **options: Any) -> None:
        self._run_number = number
        super().__init__(job, **options)

    def __hash__(self) -> int:
        return self._run_number


def forbid(what: str, instead: str) -> None:
    """Raises NotDurable if a workflow's own code runs: in a replay `what` would not do the same again."""
    if current.get() is not None:
        raise NotDurable(f"a workflow may not {what} (at {place()}): a replay could not do the same again; {instead}")


def place() -> str:
    """`file:line` of the code of the user's that asks; empty when only the engine's is on the stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_OWN, _ASYNCIO)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def place_of(task: asyncio.Task[Any] | None) -> str:
    """`file:line` of the user's code at which a task waits."""
    found = "a place that is not known"
    waits: Any = task.get_coro() if task is not None else None
    while waits is not None:
        frame = getattr(waits, "cr_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith((_OWN, _ASYNCIO)):
            found = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        waits = getattr(waits, "cr_await", None)
    return found
