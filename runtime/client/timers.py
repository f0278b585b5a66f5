"""Many coarse timers on one timer of the event loop.

`loop.call_later` costs a heap entry and a handle a call (about 1.5 µs with its cancellation); of the tens of thousands
of commands a second, hardly one ever needs its timer. Here a timer is an entry of a dictionary, and gone again before
that is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

RESOLUTION_S = 0.02

Item = TypeVar("Item")


class Timers(Generic[Item]):
    """Hands each item to `due` once its delay is over, up to `RESOLUTION_S` seconds late.

    `due` must not raise and must not wait. No two items that wait may be equal.
    """

    def __init__(self, due: Callable[[Item], None]) -> None:
        self._due = due
        self._loop = asyncio.get_running_loop()
        self._buckets: dict[int, dict[Item, None]] = {}
        self._next: int | None = None
        self._handle: asyncio.TimerHandle | None = None

    def add(self, delay_s: float, item: Item) -> dict[Item, None]:
        """Hands `item` over `delay_s` seconds from now, unless it is taken out of what this returns before."""
        bucket = int((self._loop.time() + delay_s) / RESOLUTION_S) + 1
        items = self._buckets.get(bucket)
        if items is not None:
            items[item] = None
            return items
        items = self._buckets[bucket] = {item: None}
        if self._next is None or bucket < self._next:
            self._wake_at(bucket)
        return items

    def close(self) -> None:
        """Forgets all items."""
        if self._handle is not None:
            self._handle.cancel()
        self._buckets.clear()
        self._next = None

    def _wake_at(self, bucket: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._next = bucket
        self._handle = self._loop.call_at(bucket * RESOLUTION_S, self._wake)

    def _wake(self) -> None:
        self._next = self._handle = None
        now = int(self._loop.time() / RESOLUTION_S + 1e-6)
        for bucket in sorted(self._buckets):
            if bucket > now:
                break
            for item in list(self._buckets.pop(bucket)):
                self._due(item)
        if self._buckets:
            first = min(self._buckets)
            if self._next is None or first < self._next:
                self._wake_at(first)
