"""The thread in which handlers run, so that none of them can stop heartbeats, reads or the broker's messages.

The rule for decisions and reads: return within `SLOW_S`. One that does not is named in a warning, the batch goes on
without it in a new thread, and that method runs beside the turns from then on (runtime/host/executions.py).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLOW_S = 0.25

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]", Callable[[], None]]


class StuckInHandler(Exception):
    """The job did not return in time; it goes on in a thread that nobody waits for any more."""


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

    async def run(self, job: Callable[[], None], timeout_s: float = SLOW_S) -> None:
        """Runs `job`. Raises what it raises, or StuckInHandler after `timeout_s`, when a new thread takes its place."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._jobs.put((loop, done, job))
        timer = loop.call_later(timeout_s, _give_up, done)
        try:
            await done
        except StuckInHandler:
            self.abandoned += 1
            self._jobs.put(None)
            self._jobs = self._new()
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Lets the thread end after its job."""
        self._jobs.put(None)


def _give_up(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_exception(StuckInHandler())


def _work(jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (item := jobs.get()) is not None:
        loop, done, job = item
        error: BaseException | None = None
        try:
            job()
        except BaseException as raised:  # also SystemExit: a handler must not end the thread
            error = raised
        try:
            loop.call_soon_threadsafe(_settle, done, error)
        except RuntimeError:
            return  # the loop is closed: the pod is gone


def _settle(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
