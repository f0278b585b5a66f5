"""Stopping an attempt that only waits: it costs nothing meanwhile, and starts anew when there is something for it.

What a suspended run waits for is in its row (`due_at`) or comes as a message; what it had completed is in its journal.
See docs/adr/0017.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from runtime.activity import Activity, outside
from runtime.mail import Mail
from runtime.recorder import Recorder

T = TypeVar("T")

SHORT_S = 1.0
"""A wait that ends sooner is waited for: starting anew costs more."""

STEPS_A_REPLAY = 100
"""For each so many steps an attempt waits as long again before it is suspended: reading them anew takes its time."""


class Suspended(Exception):
    """The attempt was stopped while it waited until `due` (Unix seconds; inf for no time); no attempt is lost."""

    def __init__(self, due: float, mail: Mail) -> None:
        super().__init__("the attempt was stopped while it only waited")
        self.due = due
        self._mail = mail
        self._heard = mail.heard

    @property
    def has_news(self) -> bool:
        """Whether something was said to the run that the attempt has not heard; for the pod's event loop."""
        return self._mail.posted != self._heard


class Suspension:
    """Looks after one attempt, in the event loop of handlers. `after_s`: seconds of waiting; 0 for ever."""

    def __init__(self, steps: Recorder, mail: Mail, after_s: float) -> None:
        self._steps = steps
        self._mail = mail
        self._after_s = after_s
        self._activity = Activity()
        self._seen: object = None
        self._suspended: Suspended | None = None
        self._next: asyncio.TimerHandle | None = None

    async def through(self, job: Awaitable[T]) -> T:
        """Runs the attempt, in the handler's own task. Raises Suspended, and what the attempt raises."""
        if self._after_s <= 0:
            return await job
        self._look_later()
        self._activity.begin()
        try:
            result = await job
            if self._suspended is None:
                return result
        except BaseException:
            if self._suspended is None:
                raise
        finally:
            if self._next is not None:
                self._next.cancel()
        await self._activity.end()
        raise self._suspended

    def _look_later(self) -> None:
        after_s = self._after_s * (1 + self._steps.taken / STEPS_A_REPLAY)
        self._next = asyncio.get_running_loop().call_later(after_s, self._look, context=outside())

    def _look(self) -> None:
        """Suspends what has done nothing since it was looked at last."""
        waits = self._mail.own_waits, self._steps.progress, self._activity.came
        due = self._mail.waits_until()
        if due is None or waits != self._seen or self._activity.goes_on(self._mail.waiting):
            self._seen = waits
            self._look_later()
        elif due - self._mail.now() < max(SHORT_S, self._after_s):
            self._look_later()
        else:
            self._suspended = Suspended(due, self._mail)
            self._steps.stop()
            assert self._steps.own is not None
            self._steps.own.cancel()
