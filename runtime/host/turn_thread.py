"""The thread in which handlers run, so that none of them can stop heartbeats, reads or the broker's messages.

The rule for decisions and reads: return within `SLOW_S`. One that does not is named in a warning, the batch goes on
without it in a new thread, and that method runs beside the turns from then on (runtime/host/executions.py).

Time is counted in ticks without progress: a batch of many turns may take longer than one turn may, and a process that
was frozen as a whole (SIGSTOP, a suspended machine) has not ticked either, so no handler is blamed for it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLOW_S = 0.25
TICKS = 5
"""In so many parts the time of a turn is counted."""

AT_ONCE_S = 0.001
"""Seconds for which the event loop itself waits for a job: for a short one, being woken takes as long as the job."""


class StuckInHandler(Exception):
    """The job did not return in time; it goes on in a thread that nobody waits for any more."""


class _Job:
    """A job on its way through the thread. `ended` can be acquired once it has."""

    __slots__ = ("awaited", "ended", "error", "loop", "run")

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Callable[[], None]) -> None:
        self.loop = loop
        self.run = run
        self.error: BaseException | None = None
        self.ended = threading.Lock()
        self.ended.acquire()
        self.awaited: asyncio.Future[None] | None = None
        """Who is told of the end, when the loop has gone on meanwhile."""


class TurnThread:
    """Runs one job at a time in a thread of its own."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = self._new()
        self.abandoned = 0

    def _new(self) -> queue.SimpleQueue[_Job | None]:
        jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # A daemon: a handler that never returns must not keep the process from ending.
        threading.Thread(target=_work, args=(jobs,), name="troupe-turns", daemon=True).start()
        return jobs

    async def run(
        self, job: Callable[[], None], timeout_s: float = SLOW_S, progress: Callable[[], object] = lambda: None
    ) -> None:
        """Runs `job`. Raises what it raises, or StuckInHandler, when a new thread takes its place.

        Args:
            timeout_s: seconds without progress after which the job is stuck.
            progress: gives a value that changes whenever the job gets on.
        """
        mine = _Job(asyncio.get_running_loop(), job)
        self._jobs.put(mine)
        if not mine.ended.acquire(timeout=AT_ONCE_S):
            await self._end_of(mine, timeout_s, progress)
        if mine.error is not None:
            raise mine.error

    async def _end_of(self, job: _Job, timeout_s: float, progress: Callable[[], object]) -> None:
        """Returns when a job has ended."""
        loop = job.loop
        done = job.awaited = loop.create_future()
        if job.ended.acquire(blocking=False):
            return  # it may have ended before there was somebody to tell
        watch = _Watch(loop, done, timeout_s / TICKS, progress)
        try:
            await done
        except StuckInHandler:
            self.abandoned += 1
            self._jobs.put(None)
            self._jobs = self._new()
            raise
        finally:
            watch.timer.cancel()

    def close(self) -> None:
        """Lets the thread end after its job."""
        self._jobs.put(None)


class _Watch:
    """Gives a job up that has made no progress at so many ticks. (A closure would hold the whole batch, and itself.)"""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        done: asyncio.Future[None],
        tick_s: float,
        progress: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._done = done
        self._tick_s = tick_s
        self._progress = progress
        self._seen, self._silent = progress(), 0
        self.timer = loop.call_later(tick_s, self._tick)

    def _tick(self) -> None:
        now = self._progress()
        self._silent = self._silent + 1 if now == self._seen else 0
        self._seen = now
        if self._silent < TICKS:
            self.timer = self._loop.call_later(self._tick_s, self._tick)
        elif not self._done.done():
            self._done.set_exception(StuckInHandler())


def _work(jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        try:
            job.run()
        except BaseException as raised:  # also SystemExit: a handler must not end the thread
            job.error = raised
        job.ended.release()
        if job.awaited is None:
            continue  # the loop waits, or looks before it goes on
        try:
            job.loop.call_soon_threadsafe(_settle, job.awaited)
        except RuntimeError:
            return  # the loop is closed: the pod is gone


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
