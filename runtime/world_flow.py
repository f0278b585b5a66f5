"""A workflow's run in a World: on an event loop of its own, in which time passes when all that the run does is wait."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any, TypeVar

from runtime.activity import CountingLoop
from runtime.clock import ManualClock
from runtime.errors import BadResult
from runtime.flow.paced import PacedSteps
from runtime.flow.saga import ContinueAsNew
from runtime.kind import Decided
from runtime.mail import Mail

SETTLING = 20
"""Turns of the loop after which what follows from a result has happened."""

STEP_LOOK_S = 0.001


class VirtualTime:
    """Time that passes when a workflow's run only waits, so that what is due first comes first."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._pausing: list[tuple[float, asyncio.Future[None]]] = []

    async def pause(self, seconds: float) -> None:
        """Waits so many seconds of the world's time."""
        paused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pausing.append((self._clock.now() + seconds, paused))
        await paused

    def skip(self, until: float) -> None:
        """Moves the clock, and wakes whom that concerns; if nobody, all: a pause may have begun behind the move."""
        self._pausing = [one for one in self._pausing if not one[1].done()]
        self._clock.advance(max(until - self._clock.now(), 0.0))
        concerned = [one for one in self._pausing if one[0] <= self._clock.now()]
        for _, paused in concerned or self._pausing:
            paused.set_result(None)

    @property
    def next(self) -> float:
        """When the first of those that pause is due; inf when none does."""
        return min((due for due, paused in self._pausing if not paused.done()), default=inf)


class FlowAttempt:
    """One attempt at a workflow's run on a loop of its own, in which time passes when all it does is wait."""

    def __init__(self, job: Callable[[], Awaitable[Decided]], steps: PacedSteps, mail: Mail, time: VirtualTime) -> None:
        self._job = job
        self._steps = steps
        self._mail = mail
        self._time = time
        self._task: asyncio.Task[Any] | None = None
        self.died = False

    def die(self) -> None:
        """Ends the attempt as the death of its process would."""
        if self._task is not None and not self.died:
            self.died = True
            self._steps.stop()
            self._task.cancel()

    async def run(self) -> Decided:
        self._task = asyncio.current_task()
        self._mail.open()
        passing = asyncio.create_task(self._pass_time())
        try:
            return await self._steps.through(self._job())
        except ContinueAsNew as again:
            await self._steps.continue_as_new(again, *self._mail.untaken())
            raise
        finally:
            passing.cancel()

    async def _pass_time(self) -> None:
        while True:
            for _ in range(SETTLING):
                await asyncio.sleep(0)
            if self._steps.pausing:  # between two attempts at a step
                self._time.skip(self._time.next)
            elif (due := self._mail.waits_until()) == inf:
                self._steps.fail(BadResult(f"nothing can come meanwhile: the run waits for {self._steps.awaited()}"))
            elif due is not None:
                self._time.skip(due)
            else:
                await asyncio.sleep(STEP_LOOK_S)


T = TypeVar("T")


def run_to_end(run: Callable[[], Awaitable[T]]) -> T:
    """What `run` comes to, on an event loop of its own; in a thread of its own when this one has a loop already."""

    async def main() -> T:
        return await run()

    def on_a_loop() -> T:
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            return runner.run(main())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return on_a_loop()
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(contextvars.copy_context().run, on_a_loop).result()
