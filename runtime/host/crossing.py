"""The way from one event loop into that of another thread, for many things at a time.

`call_soon_threadsafe` wakes a loop each time, and hands the interpreter over to its thread: that takes longer than a
step does otherwise. So what is put in one turn of a loop crosses over together.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

T = TypeVar("T")


class Crossing(Generic[T]):
    """Hands things to `take` in the thread of `there`, in order; `put` is called in that of `here`."""

    def __init__(
        self, here: asyncio.AbstractEventLoop, there: asyncio.AbstractEventLoop, take: Callable[[T], None]
    ) -> None:
        self._here = here
        self._there = there
        self._take = take
        self._things: deque[T] = deque()
        self._leaving = False
        self._nobodys = Context()  # it is no callback of the run that puts something

    def put(self, thing: T) -> None:
        """Takes one more along. Whatever finds the other loop closed is lost."""
        self._things.append(thing)
        if not self._leaving:
            self._leaving = True
            self._here.call_soon(self._leave, context=self._nobodys)

    def _leave(self) -> None:
        self._leaving = False
        with contextlib.suppress(RuntimeError):
            self._there.call_soon_threadsafe(self._arrive)

    def _arrive(self) -> None:
        while self._things:
            self._take(self._things.popleft())
