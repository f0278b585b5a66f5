"""What the log does not take when it is tried alone: set aside, so that everything else goes on, and tried again.

The log may be slow for one item (its row makes a trigger wait, its actor's rows are locked) or for all of them (a disk
that stalls). Only the first is to be parked, and the difference is whether others are committed in between: a time-out
counts against an item only if they were.

While a command is set aside, later commands of its actor wait behind it, and its lane's checkpoint stays where it is:
should the lane be read again from there, the inbox knows what others of the lane have done meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from runtime.host.command import Command
from runtime.host.items import Finished, Item, Next, Rerun, Step, name_of
from runtime.host.lane import Lane
from runtime.host.ports import LogRefused, LogTimedOut

_log = logging.getLogger("troupe.suspects")

TRIES = 3
"""Tries alone that may fail before an item is parked."""

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0

Parkable = Command | Next | Rerun | Finished | Step


class Suspect:
    """An item set aside. `seen` is how many batches others had committed when it was last tried."""

    __slots__ = ("due_at", "failures", "item", "pause_s", "seen", "waiting")

    def __init__(self, item: Parkable) -> None:
        self.item = item
        self.failures = 0
        self.seen = -1
        self.pause_s = FIRST_PAUSE_S
        self.due_at = 0.0
        self.waiting: deque[Command] = deque()


class Suspects:
    """Those of one pod. `wake` is called when one is to be tried again; `monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float], wake: Callable[[], None]) -> None:
        self._monotonic = monotonic
        self._wake = wake
        self._all: dict[int, Suspect] = {}
        self._commands: dict[tuple[Lane, str], Suspect] = {}
        self._nexts: dict[tuple[Lane, str], Suspect] = {}
        self._commits = 0

    def __len__(self) -> int:
        return len(self._all)

    def committed(self) -> None:
        """A batch with events or answers was committed."""
        self._commits += 1

    def hold(self, item: Item) -> bool:
        """Whether an item may not run now: a command waits behind its actor's, a Next is the one set aside again."""
        if type(item) is Command:
            suspect = self._commands.get((item.lane, item.actor))
            if suspect is None or suspect.item is item:
                return False
            suspect.waiting.append(item)
            _loosen(item)
            return True
        if isinstance(item, Next):
            suspect = self._nexts.get((item.lane, item.actor))
            return suspect is not None and suspect.item is not item
        return False

    def failed(self, item: Parkable, error: LogRefused) -> bool:
        """Sets an item aside that failed alone; whether it has failed often enough to be parked."""
        suspect = self._all.get(id(item))
        if suspect is None:
            suspect = self._all[id(item)] = Suspect(item)
            if type(item) is Command:
                self._commands[item.lane, item.actor] = suspect
                _loosen(item)
            elif isinstance(item, Next):
                self._nexts[item.lane, item.actor] = suspect
        if not isinstance(error, LogTimedOut) or self._commits > suspect.seen:
            suspect.failures += 1
        suspect.seen = self._commits
        if suspect.failures > TRIES:
            suspect.failures = 0  # should the parking fail as well, it is tried from the start
            return True
        _log.warning(
            "%s is tried again in %.2f s, and others go on meanwhile: %s", name_of(item), suspect.pause_s, error
        )
        suspect.due_at = self._monotonic() + suspect.pause_s
        asyncio.get_running_loop().call_later(suspect.pause_s, self._wake)
        suspect.pause_s = min(2 * suspect.pause_s, LONGEST_PAUSE_S)
        return False

    def due(self) -> Parkable | None:
        """One that is to be tried again now."""
        now = self._monotonic()
        for suspect in list(self._all.values()):
            if not suspect.item.lane.alive:
                self._forget(suspect)
            elif suspect.due_at <= now:
                return suspect.item
        return None

    def settled(self, item: Item) -> deque[Command]:
        """An item was committed: what waited behind it, in order."""
        suspect = self._all.get(id(item))
        if suspect is None:
            return deque()
        self._forget(suspect)
        return suspect.waiting

    def clear(self) -> None:
        """Forgets all of them."""
        self._all.clear()
        self._commands.clear()
        self._nexts.clear()

    def _forget(self, suspect: Suspect) -> None:
        item = suspect.item
        self._all.pop(id(item), None)
        if type(item) is Command:
            self._commands.pop((item.lane, item.actor), None)
        elif isinstance(item, Next):
            self._nexts.pop((item.lane, item.actor), None)


def _loosen(command: Command) -> None:
    """Keeps the lane's checkpoint until the command is done: it no longer runs in the order of the stream."""
    if command.stream_seq:
        command.lane.loose.add(command.stream_seq)
