"""What a run does beside its handler's own task: the tasks that it has started, and the times that it has set.

An attempt that is suspended is stopped, and so must be one of which nothing else goes on. A handler may start tasks
(asyncio.create_task, a gather) and set times (asyncio.timeout, call_later); both carry its context, by which the loop
of handlers counts them here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from runtime import pace

if TYPE_CHECKING:
    _Loop = asyncio.SelectorEventLoop
else:
    _Loop = object

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")

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
    if pace.current.get() is not None:
        context.run(pace.current.set, None)
    if _activity.get() is not None:
        context.run(_activity.set, None)
    return context


def inside(run: pace.Pace) -> Context:
    """A copy of the current context in which what is started belongs to a workflow's run."""
    context = outside()
    context.run(pace.current.set, run)
    return context


IN_A_STEP = "do it in a step, ctx.step(name, fn, ...)"


class Counting(_Loop):
    """What tells runs of their tasks and times, and workflows of their callbacks: before the class of an event loop."""

    _soon = asyncio.SelectorEventLoop.call_soon  # that loop's own: super() would look it up for each callback

    def call_soon(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """See asyncio.AbstractEventLoop.call_soon."""
        run = pace.current.get() if context is None else context.get(pace.current)
        if run is None:
            return self._soon(callback, *args, context=context)
        return run.call_soon(self._soon, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio.AbstractEventLoop.call_at."""
        if (pace.current.get() if context is None else context.get(pace.current)) is not None:
            pace.forbid("set a time of its own", "use ctx.sleep, not asyncio.sleep, and ctx.timeout")
        activity = _activity.get() if context is None else context.get(_activity)
        if activity is None:
            return super().call_at(when, callback, *args, context=context)

        def come() -> None:
            activity.come(time)
            callback(*args)

        time = super().call_at(when, come, context=context)
        activity.set(time)
        return time

    def run_in_executor(self, executor: Any, func: Callable[[*Arguments], T], *args: *Arguments) -> asyncio.Future[T]:
        """See asyncio.AbstractEventLoop.run_in_executor."""
        pace.forbid("run something in a thread (asyncio.to_thread, run_in_executor)", IN_A_STEP)
        return super().run_in_executor(executor, func, *args)

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """See asyncio.AbstractEventLoop.create_connection."""
        pace.forbid("open a connection", IN_A_STEP)
        return await super().create_connection(*args, **options)

    async def create_server(self, *args: Any, **options: Any) -> Any:
        """See asyncio.AbstractEventLoop.create_server."""
        pace.forbid("listen on a socket", IN_A_STEP)
        return await super().create_server(*args, **options)

    async def create_datagram_endpoint(self, *args: Any, **options: Any) -> Any:
        """See asyncio.AbstractEventLoop.create_datagram_endpoint."""
        pace.forbid("open a socket", IN_A_STEP)
        return await super().create_datagram_endpoint(*args, **options)

    async def create_unix_connection(self, *args: Any, **options: Any) -> Any:
        """See asyncio.AbstractEventLoop.create_unix_connection."""
        pace.forbid("open a connection", IN_A_STEP)
        return await super().create_unix_connection(*args, **options)

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        """See asyncio.AbstractEventLoop.subprocess_exec."""
        pace.forbid("start a process", IN_A_STEP)
        return await super().subprocess_exec(*args, **options)

    async def subprocess_shell(self, *args: Any, **options: Any) -> Any:
        """See asyncio.AbstractEventLoop.subprocess_shell."""
        pace.forbid("start a process", IN_A_STEP)
        return await super().subprocess_shell(*args, **options)

    async def sock_connect(self, *args: Any) -> Any:
        """See asyncio.AbstractEventLoop.sock_connect."""
        pace.forbid("use a socket", IN_A_STEP)
        return await super().sock_connect(*args)

    async def sock_recv(self, *args: Any) -> Any:
        """See asyncio.AbstractEventLoop.sock_recv."""
        pace.forbid("use a socket", IN_A_STEP)
        return await super().sock_recv(*args)

    async def sock_sendall(self, *args: Any) -> Any:
        """See asyncio.AbstractEventLoop.sock_sendall."""
        pace.forbid("use a socket", IN_A_STEP)
        return await super().sock_sendall(*args)


class CountingLoop(Counting, asyncio.SelectorEventLoop):
    """The event loop of handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(counted)


def counted(
    loop: asyncio.AbstractEventLoop, job: Any, /, *, context: Context | None = None, **options: Any
) -> asyncio.Task[Any]:
    """A task of a loop that counts: told to the run, or to the workflow, whose it is."""
    run = pace.current.get() if context is None else context.get(pace.current)
    if run is not None:
        return run.task(job, loop=loop, context=context, **options)
    task = asyncio.Task(job, loop=loop, context=context, **options)
    activity = _activity.get() if context is None else context.get(_activity)
    if activity is not None:
        activity.started(task)
    return task
