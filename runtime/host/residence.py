"""Passivation: which actors stay in memory."""

from __future__ import annotations

import asyncio
import os

from runtime.clock import Clock
from runtime.host.lane import Activations

EVERY_S = 1.0
SHARE_EVICTED = 0.25
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Residence:
    """Evicts idle actors, and a share of all while the process is larger than `max_resident_mb` (0: no limit)."""

    def __init__(self, activations: Activations, clock: Clock, max_resident_mb: int) -> None:
        self._activations = activations
        self._clock = clock
        self._max_bytes = max_resident_mb * 1024**2

    async def run(self) -> None:
        """Passivates, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.sweep()

    def sweep(self) -> None:
        """Passivates what is due now."""
        now = self._clock.monotonic()
        self._activations.passivate(now)
        if self._max_bytes and resident_bytes() > self._max_bytes:
            keep = int(len(self._activations) * (1 - SHARE_EVICTED))
            self._activations.passivate(now, at_most=keep)


def resident_bytes() -> int:
    """The process's resident memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
