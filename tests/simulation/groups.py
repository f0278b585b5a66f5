"""Groups of pods over a Store: which is current for the kinds, and the promotion of another one (docs/adr/0007).

With the outcomes of runtime/postgres/registration.py and groups.py; tests/contracts/test_log.py asks both the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from runtime.errors import CallFailed
from runtime.host.reading import Promotion
from tests.simulation.store import LaneRow, Store

if TYPE_CHECKING:
    from tests.simulation.log import Line


def register(store: Store, group: str, kinds: Iterable[str]) -> None:
    """A group, its lanes and its kinds: as current, or standing by when the kinds are another's."""
    ordinal = store.groups.setdefault(group, len(store.groups))
    others = [kind for kind in kinds if store.kinds.get(kind, group) != group]
    for partition in range(store.partitions):
        lane = ordinal * store.partitions + partition
        # A promotion gives the numbers of one group to another.
        if lane not in store.lanes:
            store.add_lane(LaneRow(lane, partition, group, standby=bool(others)))
    if not others:
        store.kinds.update(dict.fromkeys(kinds, group))


def promote(store: Store, group: str) -> Promotion:
    """Gives the lanes of the current group of its kinds to a group. Raises CallFailed while that is not ready."""
    if group not in store.groups:
        raise CallFailed("not_found", f"there is no group {group!r}: start its pods first")
    replaced = sorted({owner for owner in store.kinds.values() if owner != group})
    if not replaced:
        return Promotion(group, False, None, sorted(store.kinds))
    (old,) = replaced
    now = store.scheduler.now
    staying = {
        name for name, pod in store.pods.items() if pod.group == group and not pod.leaving and pod.expires_at > now
    }
    if unready := [row.lane for row in store.lanes.values() if row.group == group and row.owner not in staying]:
        raise CallFailed("unavailable", f"group {group!r} is not ready: no living pod of it owns {len(unready)} lanes")
    for row in list(store.lanes.values()):
        if row.group == group:
            store.lanes[row.lane] = LaneRow(row.lane, row.partition, old, epoch=row.epoch + 1, standby=True)
        elif row.group == old:
            store.lanes[row.lane] = dataclasses.replace(row, group=group, epoch=row.epoch + 1)
            _unblame(store, row.lane)
    store.kinds.update(dict.fromkeys(store.kinds, group))
    return Promotion(group, True, old, sorted(store.kinds))


def _unblame(store: Store, lane: int) -> None:
    """What runs is stopped by the promotion, and starts again at no cost."""
    for rows in store.pending.values():
        for id, row in rows.items():
            if row.lane == lane and row.state == "running" and row.method != "$update":
                attempts, now = max(row.attempts - 1, 0), store.now
                rows[id] = row._replace(state="waiting", attempts=attempts, due_at=now)


class SimulatedGroups:
    """The part of the Groups port that histories use."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def promote(self, group: str, *, without_kinds: bool = False) -> Promotion:
        """See runtime.postgres.groups.PostgresGroups. All groups serve the same kinds here."""
        store = self._line.store
        return await self._line.ask(lambda: promote(store, group), lanes=list(store.lanes))  # type: ignore[no-any-return]  # as asked

    async def close(self) -> None:
        """Nothing is open."""
