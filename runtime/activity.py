"""What a run does beside its handler's own task: the tasks that it has started, and the times that it has set.

An attempt that is suspended is stopped, and so must be one of which nothing else goes on. A handler may start tasks
(asyncio.create_task, a gather) and set times (asyncio.timeout, call_later); both carry its context, by which the loop
of handlers counts them here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVarTuple

Arguments = TypeVarTuple("Arguments")

_activity: ContextVar[Activity | None] = ContextVar("troupe_activity", default=None)

ENDING_S = 1.0
"""Seconds for which tasks that were cancelled may take to end."""

MANY_TIMES = 64


class Activity:
    """Of one attempt at a run; for the event loop of handlers."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._times: set[asyncio.TimerHandle] = set()
        self._most = MANY_TIMES
        self.came = 0
        """Times that have come so far. What one of them sets off shows only in the loop's next turn."""

    def __len__(self) -> int:
        return len(self._tasks) + len(self._times)

    def begin(self) -> None:
        """From here on what the current task starts belongs to it."""
        _activity.set(self)

    def started(self, task: asyncio.Task[Any]) -> None:
        """Counts a task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def set(self, time: asyncio.TimerHandle) -> None:
        """Counts a time until it comes or is cancelled."""
        if len(self._times) >= self._most:
            self._forget_cancelled()
            self._most = max(MANY_TIMES, 2 * len(self._times))
        self._times.add(time)

    def come(self, time: asyncio.TimerHandle) -> None:
        """A time has come. (The clock says so earlier than the loop, which may be late.)"""
        self._times.discard(time)
        self.came += 1

    def goes_on(self, waiting: Container[asyncio.Task[Any]]) -> bool:
        """Whether anything goes on but `waiting`: a task, or a time that is still to come."""
        self._forget_cancelled()
        return bool(self._times) or any(task not in waiting for task in self._tasks)

    async def end(self) -> None:
        """Cancels the tasks, and returns when they have ended, if that takes no longer than ENDING_S."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=ENDING_S)

    def _forget_cancelled(self) -> None:
        self._times = {time for time in self._times if not time.cancelled()}


def outside() -> Context:
    """A copy of the current context in which what is started belongs to no run."""
    context = copy_context()
    context.run(_activity.set, None)
    return context


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that tells runs of their tasks and times."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(_counted)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio.AbstractEventLoop.call_at."""
        activity = _activity.get() if context is None else context.get(_activity)
        if activity is None:
            return super().call_at(when, callback, *args, context=context)

        def come() -> None:
            activity.come(time)
            callback(*args)

        time = super().call_at(when, come, context=context)
        activity.set(time)
        return time


def _counted(
    loop: asyncio.AbstractEventLoop, job: Any, /, *, context: Context | None = None, **options: Any
) -> asyncio.Task[Any]:
    task = asyncio.Task(job, loop=loop, context=context, **options)
    activity = _activity.get() if context is None else context.get(_activity)
    if activity is not None:
        activity.started(task)
    return task
