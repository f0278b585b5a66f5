"""Where users' code runs: threads beside the event loop, and who watches that the loop itself goes on.

A port like the log's and the broker's, since a thread is as little deterministic as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from runtime.host.execution_loop import ExecutionLoop
from runtime.host.turn_thread import SLOW_S, TurnThread
from runtime.host.watchdog import Watchdog

T = TypeVar("T")


class TurnRunner(Protocol):
    """Runs one job of turns or reads at a time."""

    async def run(
        self, job: Callable[[], None], timeout_s: float = SLOW_S, progress: Callable[[], object] = ...
    ) -> None:
        """Runs `job`. Raises what it raises, or StuckInHandler; see runtime.host.turn_thread."""

    def close(self) -> None:
        """Takes no more jobs."""


class HandlerLoop(Protocol):
    """Runs users' coroutines; see runtime.host.execution_loop."""

    blocked: int
    """How often it was found standing still."""

    async def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Runs `job`, and gives what it returns or raises. Cancelling this cancels the job."""

    async def watch(self) -> None:
        """Looks after it, for ever."""

    def close(self) -> None:
        """Lets it end."""


class LoopWatch(Protocol):
    """Watches that the pod's event loop goes on; see runtime.host.watchdog."""

    def start(self) -> None:
        """Starts watching."""

    async def tick(self) -> None:
        """Says that the loop goes on, for ever."""

    def stop(self) -> None:
        """Stops watching."""


class Threads(Protocol):
    """What a pod runs beside its event loop."""

    def turns(self) -> TurnRunner:
        """A place for turns or reads."""

    def handlers(self, running: Callable[[], list[str]]) -> HandlerLoop:
        """A place for async handlers. `running` names what runs, for warnings."""

    def watchdog(self, limit_s: float) -> LoopWatch:
        """What ends a process whose event loop stands still for `limit_s` seconds."""

    def start(self, job: Callable[[], object], name: str) -> None:
        """Runs a job that may take for ever beside everything else."""


class SystemThreads:
    """Threads of this process."""

    def turns(self) -> TurnRunner:
        return TurnThread()

    def handlers(self, running: Callable[[], list[str]]) -> HandlerLoop:
        return ExecutionLoop(running)

    def watchdog(self, limit_s: float) -> LoopWatch:
        return Watchdog(limit_s)

    def start(self, job: Callable[[], object], name: str) -> None:
        # A daemon: a handler that never returns must not keep the process from ending.
        threading.Thread(target=job, name=name, daemon=True).start()
