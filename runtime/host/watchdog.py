"""Ends a process whose event loop has stopped: its lanes are better off with another pod.

Handlers run in threads, so the loop only stops when something holds the interpreter lock for seconds (an extension
module) or when the engine itself is broken. The watchdog counts its own ticks, not seconds: a process that was frozen
as a whole (SIGSTOP, a suspended machine) has not ticked either, and gets the chance to go on; the fence takes care of
it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable

_log = logging.getLogger("troupe.watchdog")

TICK_S = 0.1
EXIT_CODE = 70


class Watchdog:
    """Watches an event loop that calls `alive` at least every `limit_s` seconds."""

    def __init__(self, limit_s: float, end: Callable[[], None] | None = None) -> None:
        self._limit = int(limit_s / TICK_S)
        self._end = end or _end
        self._silent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="troupe-watchdog", daemon=True)

    def start(self) -> None:
        """Starts watching."""
        self._thread.start()

    async def tick(self) -> None:
        """Says that the loop makes progress, for ever."""
        while True:
            self.alive()
            await asyncio.sleep(TICK_S)

    def alive(self) -> None:
        """The loop makes progress."""
        self._silent = 0

    def stop(self) -> None:
        """Stops watching."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(TICK_S):  # time.sleep fails where a tool shifts the process's clock
            self._silent += 1
            if self._silent > self._limit:
                _log.critical("the event loop has stood still for %.1f s: this process ends", self._silent * TICK_S)
                self._end()
                return


def _end() -> None:
    faulthandler.dump_traceback(file=sys.stderr)
    os._exit(EXIT_CODE)
