"""The event loop in which users' async handlers run: not the pod's own.

An async handler must not block, but one will. Then it holds up the other handlers of its loop, never heartbeats, turns,
or the broker's messages; and once that is noticed, those that start later get a loop of their own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from runtime.activity import CountingLoop

T = TypeVar("T")

_log = logging.getLogger("troupe.executions")

CHECK_S = 1.0


class ExecutionLoop:
    """Runs coroutines in a thread of its own. `running` names what runs, for the warning when the loop is held up."""

    def __init__(self, running: Callable[[], list[str]]) -> None:
        self._running = running
        self._loop: asyncio.AbstractEventLoop | None = None
        self.blocked = 0

    async def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Runs `job` there, and gives what it returns or raises. Cancelling this cancels the job."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(job, self._ready()))

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
                self._loop = None
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
            self._loop = None

    def _ready(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = self._loop = CountingLoop()
            # A daemon: a handler that never returns must not keep the process from ending.
            threading.Thread(target=_serve, args=(loop,), name="troupe-executions", daemon=True).start()
        return self._loop


async def _answer() -> None:
    """The loop is alive."""


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
