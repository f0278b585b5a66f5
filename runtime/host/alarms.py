"""What is to be put into a batch later: at most one alarm a place, and none for a lane that is lost.

What comes much later has none until its time is near (runtime.host.sleepers).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from runtime.host import sleepers
from runtime.host.items import Expire, Next, Rerun, Step
from runtime.host.lane import Lane
from schemas.control import METHODS

Late = Next | Rerun | Expire | Step


class Alarms:
    """The alarms of one pod.

    Args:
        put: puts an item into the next batch.
        later: is told that something which has no alarm is due after so many seconds.
    """

    def __init__(self, put: Callable[[Late], None], later: Callable[[float], None]) -> None:
        self._put = put
        self._later = later
        self._of: dict[Lane, dict[Hashable, tuple[float, asyncio.TimerHandle, Late]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def set(self, delay_s: float, item: Late) -> None:
        """Puts an item into a batch after `delay_s` seconds, unless its lane is lost by then.

        Of several for one place only the earliest is kept: its turn sets the next one if it comes before its time.
        """
        if delay_s <= 0:
            self._put(item)
            return
        if not item.lane.alive:
            return
        place, loop = _place_of(item), asyncio.get_running_loop()
        when = loop.time() + delay_s
        alarms = self._of.setdefault(item.lane, {})
        known = alarms.get(place)
        if known is not None:
            if known[0] <= when:
                return
            known[1].cancel()
            del alarms[place]
        if isinstance(item, Next):
            item.lane.resting.add(item.actor)
        if delay_s > sleepers.NEAR_S and sleepers.may_be_read(item):
            self._later(delay_s)
            return
        if isinstance(item, Rerun) and item.row.method not in METHODS:
            # It is looked up again in its turn, and may wait for long.
            item.row = item.row._replace(headers="{}", body=b"")
        alarms[place] = when, loop.call_at(when, self._due, place, item), item

    def forget(self, lane: Lane) -> None:
        """A lane was lost."""
        for _, alarm, _ in self._of.pop(lane, {}).values():
            alarm.cancel()

    def sooner(self, seconds: float) -> None:
        """The log's clock has moved forward: everything is due so many seconds sooner."""
        loop = asyncio.get_running_loop()
        for alarms in self._of.values():
            for place, (when, alarm, item) in alarms.items():
                alarm.cancel()
                alarms[place] = when - seconds, loop.call_at(when - seconds, self._due, place, item), item

    def clear(self) -> None:
        """Forgets all of them."""
        for lane in list(self._of):
            self.forget(lane)

    def _due(self, place: Hashable, item: Late) -> None:
        del self._of[item.lane][place]
        if isinstance(item, Next):
            item.lane.resting.discard(item.actor)
        self._put(item)


def _place_of(item: Late) -> Hashable:
    if isinstance(item, Next):
        return item.actor
    if isinstance(item, Expire):
        return "expire", item.actor, item.command_id
    return (item.row.actor, item.row.command_id) if isinstance(item, Rerun) else id(item)
