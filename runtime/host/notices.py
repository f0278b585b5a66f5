"""Telling readers of the log how far it has come: hints, so nothing depends on their arrival."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from runtime.host.lane import Lane

EVERY_S = 0.005
"""Commits that follow one another faster share a notice: to send one takes as long as to record a step."""

_pack = msgspec.msgpack.Encoder().encode


class Notices:
    """Those of one pod. `post` sends a body."""

    def __init__(self, post: Callable[[bytes], None], monotonic: Callable[[], float]) -> None:
        self._post = post
        self._monotonic = monotonic
        self._positions: dict[int, int] = {}
        self._last = -EVERY_S
        self._later: asyncio.TimerHandle | None = None

    def tell(self, positions: Mapping[Lane, int]) -> None:
        """The log has come so far: lane → position."""
        for lane, position in positions.items():
            self._positions[lane.lane] = position
        if self._later is None:
            wait_s = self._last + EVERY_S - self._monotonic()
            if wait_s <= 0:
                self._send()
            else:
                self._later = asyncio.get_running_loop().call_later(wait_s, self._send)

    def _send(self) -> None:
        self._later = None
        self._last = self._monotonic()
        positions, self._positions = self._positions, {}
        self._post(_pack(positions))
