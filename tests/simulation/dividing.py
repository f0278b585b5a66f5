"""Bugs planted in the division of lanes between tenants (runtime.host.shares)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.host.items import Item
from runtime.host.shares import Place, Shares, Sharing

Patch = tuple[Any, str, Any]


def checkpoint_of_the_farthest() -> list[Patch]:
    """The checkpoint is the highest of what the feeds have done, not the lowest."""
    after = Shares.after

    def farthest(self: Shares, batch: Sequence[Item]) -> Place:
        after(self, batch)
        return max(self._own(), *[self._reached.get(one.feed, one.done) for one in self.by_feed.values()])

    return [(Shares, "after", farthest)]


def joined_too_early() -> list[Patch]:
    """A tenant is read with the others again, wherever its own feed has come to."""

    def look(self: Sharing) -> None:
        for lane in list(self.divided):
            for tenant, feed in list(lane.feed.apart.items()):
                self._join(lane, tenant, feed)
            self._forget_joined(lane)

    return [(Sharing, "look", look)]


def forgotten_in_hand() -> list[Patch]:
    """What a feed has brought does not count any more once the feed is closed, though it is not committed."""

    def forget(self: Sharing, lane: Any) -> None:
        for feed in [feed for feed in lane.shares.by_feed if feed.closed] if lane.shares is not None else ():
            del lane.shares.by_feed[feed]
            self._closed(feed)

    return [(Sharing, "_forget_joined", forget)]
