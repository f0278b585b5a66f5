"""How an entry of a workflow's run leaves for the log: without a task that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from runtime.activity import outside
from runtime.recorder import Entry, Keeper

Kept = Callable[[BaseException | None], None]
"""Is told that an entry is committed, or why it is not: a CancelledError when the run is another pod's now."""


class Sender(Keeper, Protocol):
    """Where a workflow's entries are kept."""

    def send(self, entry: Entry, kept: Kept) -> Callable[[], object]:
        """Has an entry committed, and calls `kept` then, in the loop of handlers; raises nothing.

        Gives what takes it back, as far as it is not on its way to the log yet; then `kept` may be called or not.
        """


class SentInTasks(Keeper, Protocol):
    """`send` in terms of `keep`: for a Keeper with which it may take a task."""

    def send(self, entry: Entry, kept: Kept) -> Callable[[], object]:
        """See Sender."""

        async def keep() -> None:
            try:
                await self.keep(entry)
            except BaseException as error:  # noqa: BLE001  # whoever sent it is told
                kept(error)
            else:
                kept(None)

        return asyncio.get_running_loop().create_task(keep(), context=outside()).cancel
