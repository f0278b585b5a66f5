"""Bugs to plant in what goes on beside the commits: keeping house, snapshots, sessions, promotions (see planted.py)."""

from __future__ import annotations

from typing import Any

from runtime.client.feed import Watcher
from runtime.client.ordered import OrderedReader
from runtime.host import plan
from runtime.host.answers import fact_row
from runtime.host.housekeeping import Housekeeping
from runtime.host.items import Anchor
from tests.simulation import groups
from tests.simulation.store import Store

Patch = tuple[Any, str, Any]
"""What is replaced: an attribute of what, by what."""


def trimmed_by_sequence() -> list[Patch]:
    """As the engine once had it: a checkpoint was taken for one of the messages that have its sequence now."""

    async def never(self: Housekeeping, upto: int, processed_at: int) -> bool:
        return False

    return [(Housekeeping, "_went_back", never)]


def anchor_back() -> list[Patch]:
    """As the engine once had it: an anchor for what has come in since took the checkpoint back."""

    async def moved(self: Housekeeping) -> None:
        upto = (await self._stream.state()).last_seq
        last = await self._stream.message_time(upto)
        for lane in self._lanes():
            if last is not None and lane.queued == 0 and await self._reader.caught_up(lane.feed, upto) and lane.alive:
                self._put(Anchor(lane, upto, last, lane.feed.taken))

    return [(Housekeeping, "move_anchors", moved)]


def facts_with_gaps() -> list[Patch]:
    receive = OrderedReader._on_message

    def received(self: OrderedReader, subject: str, reply: str, data: bytes, header: bytes) -> None:
        if reply and reply.split(".")[-6] == self._consumer:
            self._delivered = int(reply.split(".")[-3]) - 1
        receive(self, subject, reply, data, header)

    return [(OrderedReader, "_on_message", received)]


def nothing_caught_up() -> list[Patch]:
    def joined(self: Watcher) -> None:
        self._joined = self._reached = max(self._feed.position, self._reached)
        self._behind = False

    return [(Watcher, "_join", joined)]


def facts_without_ids() -> list[Patch]:
    return [(plan, "fact_row", lambda *args: fact_row(*args)._replace(headers="{}"))]


def standby_works() -> list[Patch]:
    taken = Store._taken
    return [(Store, "_taken", lambda self, row, unclean: taken(self, row, unclean)._replace(standby=False))]


def outbox_left() -> list[Patch]:
    promote = groups.promote

    def promoted(store: Store, group: str) -> Any:
        done = promote(store, group)
        for rows in store.outbox.values() if done.promoted else ():
            rows.clear()
        return done

    return [(groups, "promote", promoted)]
