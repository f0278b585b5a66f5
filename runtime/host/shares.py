"""Who brings more than a share of a lane's messages is read apart, so that the others need not wait behind it.

A lane is read in the order of its stream by one feed, its *own*. When many messages wait, and a tenant's are many of
those that come, that tenant gets a feed of its own from where the lane is, with room for few messages at a time; the
lane's own feed leaves that tenant's to it, and so comes to those of the others at the speed of reading. Once the
tenant's feed has come to where the lane's own is, they are one again (docs/adr/0026).

A key is of one tenant, so its order stays. The checkpoint stays one number: the lowest of what the feeds have done.
What is above it and done is known by the inbox, as ever. Nothing of this is kept: a new owner reads in one feed from
the checkpoint on, and looks again who brings how much.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from runtime.errors import NotConnected
from runtime.host.broker import CommandStream, Feed, LaneReader
from runtime.host.command import Command
from runtime.host.ports import LogUnavailable

if TYPE_CHECKING:
    from runtime.host.items import Item
    from runtime.host.keeping import Keeping
    from runtime.host.lane import Lane

_log = logging.getLogger("troupe.shares")

WINDOW = 256
"""Messages by which it is judged who brings how many."""

LARGE_SHARE = 1 / 16
"""The share of them from which on a tenant is read apart."""

LOOK_S = 0.5
MOST_APART = 16
"""Tenants of one lane that are read apart at a time."""

ROOM_APART = 64
"""Messages that a lane holds of a tenant that is read apart, before it asks for no more."""

Place = tuple[int, int]
"""A message's stream sequence, and when the broker stored it (Unix nanoseconds)."""


class Apart:
    """A tenant that is read apart. `done` is the last of its messages that is committed, `queued` how many are not."""

    __slots__ = ("done", "feed", "queued")

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.done: Place = (feed.taken, feed.taken_at)
        self.queued = 0


class Shares:
    """The tenants of one lane that are read apart, while there are any or something of theirs is in hand."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._done: Place = (lane.checkpoint, lane.checkpoint_at)
        self._reached: dict[Feed, Place] = {}
        self.by_feed: dict[Feed, Apart] = {}

    @property
    def queued(self) -> int:
        """Messages of the lane's own feed that are taken and not committed."""
        return self._lane.queued - sum([apart.queued for apart in self.by_feed.values()])

    def arrived(self, feed: Feed) -> None:
        """A feed has brought a message."""
        if (apart := self.by_feed.get(feed)) is not None:
            apart.queued += 1

    def left(self, command: Command) -> None:
        """A message that was taken is committed."""
        if (apart := self._of(command)) is not None:
            apart.queued -= 1

    # -- the checkpoint -------------------------------------------------------------------------------------------

    def after(self, batch: Sequence[Item]) -> Place:
        """The checkpoint once a batch is committed."""
        lane = self._lane
        self._reached.clear()  # nothing counts of a batch that was not committed
        if lane.loose:
            return lane.checkpoint, lane.checkpoint_at
        for item in batch:
            if item.lane is lane and type(item) is Command and item.stream_seq:
                apart = self._of(item)
                self._reached[lane.feed if apart is None else apart.feed] = (item.stream_seq, item.stream_at)
        return min([self._own(), *[self._reached.get(one.feed, one.done) for one in self.by_feed.values()]])

    def committed(self) -> None:
        """The last batch that was asked about is committed, and the lane's checkpoint is what it was to be."""
        for feed, place in self._reached.items():
            if (apart := self.by_feed.get(feed)) is not None:
                apart.done = place
        # A batch that was put together before the lane was divided may have moved it.
        checkpoint = (self._lane.checkpoint, self._lane.checkpoint_at)
        self._done = max(self._reached.get(self._lane.feed, self._done), checkpoint)
        self._reached.clear()

    def _own(self) -> Place:
        feed = self._lane.feed
        if self.queued == 0:
            return feed.taken, feed.taken_at  # what it has left to others since, those answer for
        return self._reached.get(feed, self._done)

    def _of(self, command: Command) -> Apart | None:
        return None if command.feed is None else self.by_feed.get(command.feed)


class Sharing:
    """Divides a pod's lanes, and joins what was divided.

    Args:
        reader: reads the feeds of `stream`.
        keeping: says whether there are several tenants: where there is one, nothing is divided.
        opened: told a feed that begins for a tenant, and its lane.
        closed: told a feed when none of its messages is in hand any more.
        went_back: told a lane when the broker has gone back in time while it was divided.
    """

    def __init__(
        self,
        reader: LaneReader,
        stream: CommandStream,
        keeping: Keeping,
        opened: Callable[[Feed, Lane], None],
        closed: Callable[[Feed], object],
        went_back: Callable[[Lane], None],
    ) -> None:
        self._reader = reader
        self._stream = stream
        self._opened = opened
        self._closed = closed
        self._went_back = went_back
        self._keeping = keeping
        self._crowded = self._several = False
        self._whole: dict[Lane, int] = {}
        self._leading: dict[Lane, tuple[str, float]] = {}
        self.divided: dict[Lane, None] = {}
        self.divisions = 0
        """How often a tenant was read apart."""

    def watch(self, lane: Lane, unclean: bool) -> None:
        """Divides a lane from now on when it is crowded.

        After an unclean death it stays whole until all is done that waited then: what ended the process is found among
        the messages behind the checkpoint, and those that come first in a divided lane may be far from it.
        """
        if unclean:
            self._whole[lane] = 0
        seen: list[str] = []

        def crowded(tenant: str) -> None:
            seen.append(tenant)
            if len(seen) >= WINDOW:
                self._judge(lane, Counter(seen))
                seen.clear()

        lane.feed.crowded = crowded

    def stop(self, lane: Lane) -> None:
        """Reads a lane no more."""
        self.divided.pop(lane, None)
        self._whole.pop(lane, None)
        self._leading.pop(lane, None)
        lane.feed.crowded = lane.feed.went_back = None
        for feed in list(lane.shares.by_feed) if lane.shares is not None else ():
            feed.went_back = None
            self._reader.stop(feed)
            self._closed(feed)

    def waiting(self) -> dict[str, int]:
        """How many messages wait of each tenant that is read apart, or would be in a lane that is to stay whole."""
        found: Counter[str] = Counter()
        for lane, (tenant, share) in self._leading.items():
            found[tenant] += int(share * (lane.feed.behind + lane.queued))
        for lane in self.divided:
            for feed, apart in lane.shares.by_feed.items() if lane.shares is not None else ():
                assert feed.tenant is not None, "it is a tenant's"
                found[feed.tenant] += apart.queued + (0 if feed.closed else feed.behind)
        return {tenant: waiting for tenant, waiting in found.items() if waiting}

    async def run(self) -> None:
        """Looks at what is divided, for ever."""
        self._crowded = True  # so that a lane that is crowded from the beginning need not wait for the answer
        while True:
            try:
                await self._release()
                if self._crowded and not self._several:
                    self._several, self._crowded = await self._keeping.several_tenants(), False
            except (NotConnected, LogUnavailable) as error:
                _log.warning("lanes stay whole: %s", error)
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Joins what can be joined, and forgets who led in lanes where nothing waits any more."""
        self._leading = {lane: led for lane, led in self._leading.items() if lane.feed.behind}
        for lane in list(self.divided):
            for tenant, feed in list(lane.feed.apart.items()):
                if feed.reading and feed.left <= feed.taken <= lane.feed.taken:
                    self._join(lane, tenant, feed)
            self._forget_joined(lane)

    async def _release(self) -> None:
        """Lets lanes be divided again that have done what waited when they were taken."""
        if not self._whole:
            return
        last = (await self._stream.state()).last_seq
        for lane, upto in list(self._whole.items()):
            until = upto or last
            if lane.feed.taken >= until or await self._reader.caught_up(lane.feed, until):
                self._whole.pop(lane, None)
            elif lane in self._whole:
                self._whole[lane] = until

    def _judge(self, lane: Lane, seen: Counter[str]) -> None:
        self._crowded = True
        if not lane.alive or lane.draining or len(lane.feed.apart) >= MOST_APART:
            return
        ((tenant, messages),) = seen.most_common(1)
        if lane in self._whole or not self._several:
            self._leading[lane] = (tenant, messages / WINDOW)
            return
        known = {feed.tenant for feed in lane.shares.by_feed} if lane.shares is not None else set()
        if messages >= LARGE_SHARE * WINDOW and tenant not in known:
            self._divide(lane, tenant)

    def _divide(self, lane: Lane, tenant: str) -> None:
        own = lane.feed
        if lane.shares is None:
            lane.shares = Shares(lane)
        shares = lane.shares
        self._leading.pop(lane, None)
        self.divisions += 1
        feed = Feed(
            f"{own.name}_{self.divisions}", lane.partition, own.taken, own.taken_at,
            lambda: lane.room(ROOM_APART, apart.queued), tenant=tenant, batch=ROOM_APART // 2,
        )  # fmt: skip
        apart = shares.by_feed[feed] = Apart(feed)
        own.went_back = feed.went_back = lambda: self._went_back(lane)
        own.apart[tenant] = feed
        self.divided[lane] = None
        _log.info("partition %s: tenant %r is read apart from message %d on", own.name, tenant, own.taken + 1)
        self._opened(feed, lane)
        self._reader.start(feed)

    def _join(self, lane: Lane, tenant: str, feed: Feed) -> None:
        """The feed has brought all that the lane's own has left to it, and nothing that it is still to bring."""
        _log.info("partition %s: tenant %r is read with the others from message %d on", lane.feed.name, tenant,
                  lane.feed.taken + 1)  # fmt: skip
        del lane.feed.apart[tenant]
        self._reader.stop(feed)

    def _forget_joined(self, lane: Lane) -> None:
        """What a feed has brought is counted as its own until it is committed."""
        shares = lane.shares
        if shares is None or not lane.alive:
            return
        for feed, apart in list(shares.by_feed.items()):
            if feed.closed and apart.queued == 0:
                del shares.by_feed[feed]
                self._closed(feed)
        if not shares.by_feed:
            lane.shares = lane.feed.went_back = None
            self.divided.pop(lane, None)
