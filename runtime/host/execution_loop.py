"""The event loop in which users' async handlers run: not the pod's own.

An async handler must not block, but one will. Then it holds up the other handlers of its loop, never heartbeats, turns,
or the broker's messages; and once that is noticed, those that start later get a loop of their own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

from runtime.activity import CountingLoop
from runtime.host.crossing import Crossing

T = TypeVar("T")

_log = logging.getLogger("troupe.executions")

CHECK_S = 1.0


class ExecutionLoop:
    """Runs coroutines in a thread of its own. `running` names what runs, for the warning when the loop is held up."""

    def __init__(self, running: Callable[[], list[str]]) -> None:
        self._running = running
        self._loop: asyncio.AbstractEventLoop | None = None
        self._into: Crossing[_Job] | None = None
        self._out: Crossing[_Job] | None = None
        self.blocked = 0

    async def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Runs `job` there, and gives what it returns or raises. Cancelling this cancels the job."""
        loop, here = self._ready(), asyncio.get_running_loop()
        if self._into is None or self._out is None:
            self._into, self._out = Crossing(here, loop, _Job.arrive), Crossing(loop, here, _Job.left)
        into = self._into
        crossing = _Job(job, here.create_future(), loop, self._out)
        into.put(crossing)
        try:
            return await crossing.outcome  # type: ignore[no-any-return]  # of the job, which gives a T
        except asyncio.CancelledError:
            if crossing.outcome.cancelled() and not crossing.over:
                into.put(crossing)  # for the second time: to be cancelled
            raise

    async def watch(self) -> None:
        """Leaves a loop behind that does not answer, for ever."""
        while True:
            await asyncio.sleep(CHECK_S)
            loop = self._loop
            if loop is None:
                continue
            answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_answer(), loop))
            done, _ = await asyncio.wait([answer], timeout=CHECK_S)
            if not done and loop is self._loop:
                self._loop = self._into = self._out = None
                self.blocked += 1
                names = ", ".join(self._running()) or "none that is known"
                _log.warning(
                    "an async handler blocks its event loop; running are %s. It must await, or hand blocking work to "
                    "asyncio.to_thread; handlers that start from now on get a loop of their own",
                    names,
                )

    def close(self) -> None:
        """Lets the thread end."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = self._into = self._out = None

    def _ready(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = self._loop = CountingLoop()
            # A daemon: a handler that never returns must not keep the process from ending.
            threading.Thread(target=_serve, args=(loop,), name="troupe-executions", daemon=True).start()
        return self._loop


class _Job:
    """A coroutine on its way into the loop of handlers, and what came of it on the way back.

    `outcome` belongs to the pod's loop, `_task` to that of handlers.
    """

    __slots__ = ("_context", "_error", "_job", "_loop", "_out", "_result", "_task", "outcome", "over")

    def __init__(
        self,
        job: Coroutine[Any, Any, Any],
        outcome: asyncio.Future[Any],
        loop: asyncio.AbstractEventLoop,
        out: Crossing[_Job],
    ) -> None:
        self._job = job
        self._context = copy_context()
        self._loop = loop
        self._out = out
        self._task: asyncio.Task[Any] | None = None
        self._result: Any = None
        self._error: BaseException | None = None
        self.outcome = outcome
        self.over = False
        """Whether it has ended; in the pod's loop."""

    def arrive(self) -> None:
        """In the loop of handlers: begins, and when it comes again, is cancelled."""
        if self._task is None:
            self._task = self._loop.create_task(self._job, context=self._context)
            self._task.add_done_callback(self._ended, context=self._context)
        else:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._error = asyncio.CancelledError()
        elif (error := task.exception()) is not None:
            self._error = error
        else:
            self._result = task.result()
        self._out.put(self)

    def left(self) -> None:
        """In the pod's loop: tells who waits."""
        self.over = True
        error, self._error = self._error, None  # it holds a traceback, and that holds this
        if self.outcome.done():
            return
        if error is None:
            self.outcome.set_result(self._result)
        elif isinstance(error, asyncio.CancelledError):
            self.outcome.cancel()
        else:
            self.outcome.set_exception(error)


async def _answer() -> None:
    """The loop is alive."""


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
