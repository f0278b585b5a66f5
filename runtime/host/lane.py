"""A lane in the hands of this pod, and the actors that are in memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from runtime.errors import UnreadableEvent
from runtime.host.broker import Feed
from runtime.host.ports import OutboxRow, Taken
from schemas.address import Address

if TYPE_CHECKING:
    from runtime.host.command import Command
    from runtime.host.shares import Shares
    from runtime.mail import Mail

MAILBOX_LIMIT = 512
"""Messages a lane holds in memory before it asks the broker for no more."""


MAX_MAILBOX_BYTES = 256 * 1024**2
"""Bytes of messages a pod holds in memory before none of its lanes asks for more."""


class Mailboxes:
    """What the mailboxes of one pod hold together; `fetched` is how much of it came from the object store."""

    __slots__ = ("bytes", "fetched")

    def __init__(self) -> None:
        self.bytes = 0
        self.fetched = 0


class Unsubscribable(Protocol):
    """A subscription of this pod."""

    async def unsubscribe(self) -> None:
        """Ends it."""


class Lane:
    """What this pod knows of one lane. Everything here is as of the last commit.

    Attributes:
        position: the lane's last log position.
        reads: the subscriptions on which its queries come in.
        queued: messages taken from the broker and not yet committed.
        held: actors whose key is held by pending commands: how many there are.
        resting: those of them whose next pending command waits for its time: until then they need not be in memory.
        refusals: whether commands of its partition were refused, within the inbox's window.
        active: executions that run in this pod, by (actor, command id).
        mails: what was said to each of them that has heard of it, by the same.
        excused: those that had no part in the lane's loss before it was taken again: they are not to blame for it.
        careful: messages still to be tried one by one after an unclean death.
        backlog: messages held back while the lane is careful, or behind one whose body is still in the object store.
        loose: sequences of messages that are done in another order than the stream's; the checkpoint waits for them.
        shares: tenants whose messages are read apart; None when there are none.
    """

    __slots__ = (
        "active",
        "alive",
        "backlog",
        "bytes",
        "careful",
        "checkpoint",
        "checkpoint_at",
        "draining",
        "epoch",
        "excused",
        "feed",
        "fetched",
        "held",
        "lane",
        "loose",
        "mailboxes",
        "mails",
        "outbox",
        "outbox_ord",
        "partition",
        "paused",
        "position",
        "probe_count",
        "probe_seq",
        "queued",
        "reads",
        "refusals",
        "resting",
        "sending",
        "shares",
    )

    def __init__(self, taken: Taken, name: str, careful: int, mailboxes: Mailboxes) -> None:
        self.mailboxes = mailboxes
        self.lane = taken.lane
        self.partition = taken.partition
        self.epoch = taken.epoch
        self.checkpoint = taken.checkpoint
        self.checkpoint_at = taken.checkpoint_at
        self.position = taken.position
        self.held = {actor: waiting.commands for actor, waiting in taken.held.items()}
        self.resting: set[str] = set()
        self.paused = set(taken.paused)
        self.outbox: deque[OutboxRow] = deque(taken.outbox)
        self.outbox_ord = taken.outbox[-1].ord if taken.outbox else 0
        self.sending = False
        self.refusals = taken.refusals
        self.active: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.mails: dict[tuple[str, str], Mail] = {}
        self.excused: frozenset[tuple[str, str]] = frozenset()
        self.careful = careful
        self.probe_seq = taken.probe_seq
        self.probe_count = taken.probe_count
        self.backlog: deque[Command] = deque()
        self.loose: set[int] = set()
        self.shares: Shares | None = None
        self.queued = 0
        self.bytes = self.fetched = 0
        self.reads: list[Unsubscribable] = []
        self.alive = True
        self.draining = False
        self.feed = Feed(name, taken.partition, taken.checkpoint, taken.checkpoint_at, self._room)

    def room(self, limit: int, queued: int) -> int:
        """How many messages a feed of the lane may bring that has brought `queued` of at most `limit`."""
        return 0 if self.mailboxes.bytes > MAX_MAILBOX_BYTES else limit - queued

    def _room(self) -> int:
        return self.room(MAILBOX_LIMIT, self.queued if self.shares is None else self.shares.queued)

    def arrived(self, size: int) -> None:
        """A message of `size` bytes was taken from the broker."""
        self.queued += 1
        self.bytes += size
        self.mailboxes.bytes += size

    def admit(self, size: int) -> bool:
        """Counts a body of `size` bytes that is about to be fetched, if there is room for it; one always fits."""
        if self.mailboxes.fetched and self.mailboxes.bytes + size > MAX_MAILBOX_BYTES:
            return False
        if self.alive:
            self._hold(size, size)
        return True

    def committed(self, size: int, fetched: int) -> None:
        """A message of `size` bytes, with a body of `fetched` from the object store, left its batch."""
        self.queued -= 1
        self._hold(-size - fetched, -fetched)

    def _hold(self, size: int, fetched: int) -> None:
        self.bytes += size
        self.fetched += fetched
        self.mailboxes.bytes += size
        self.mailboxes.fetched += fetched

    def lose(self) -> None:
        """Nothing of the lane is written any more, and what it held in memory is dropped."""
        self.alive = False
        self._hold(-self.bytes, -self.fetched)

    @property
    def gated(self) -> bool:
        """Whether arrivals go to the backlog instead of the common queue."""
        return self.careful > 0 or bool(self.backlog)


class Activation:
    """An actor in memory, as of the last commit. `saved_seq` is the sequence of its last snapshot.

    `unreadable` says why its log cannot be folded; then `state` means nothing.
    """

    __slots__ = ("address", "lane", "saved_seq", "seq", "state", "unreadable", "used_at")

    def __init__(
        self,
        lane: Lane,
        address: Address,
        seq: int,
        state: Any,
        saved_seq: int,
        used_at: float,
        unreadable: UnreadableEvent | None = None,
    ) -> None:
        self.lane = lane
        self.address = address
        self.seq = seq
        self.state = state
        self.saved_seq = saved_seq
        self.used_at = used_at
        self.unreadable = unreadable


class Activations:
    """The actors in memory by id, least recently used first.

    Args:
        limit: at most so many are kept; the least recently used ones without work go first.
        idle_s: seconds without a turn after which one is passivated.
    """

    def __init__(self, limit: int, idle_s: float) -> None:
        self._limit = limit
        self._idle_s = idle_s
        self._actors: OrderedDict[str, Activation] = OrderedDict()
        self.passivated = 0

    def __len__(self) -> int:
        return len(self._actors)

    def __iter__(self) -> Iterator[tuple[str, Activation]]:
        return iter(list(self._actors.items()))

    def get(self, actor: str) -> Activation | None:
        """The activation, if there is one."""
        return self._actors.get(actor)

    def put(self, actor: str, activation: Activation) -> None:
        """Keeps an activation as the most recently used one."""
        self._actors[actor] = activation
        self._actors.move_to_end(actor)

    def drop(self, actor: str) -> None:
        """Forgets an activation: its next turn loads it from the log."""
        self._actors.pop(actor, None)

    def drop_lane(self, lane: Lane) -> None:
        """Forgets all of a lane's actors."""
        for actor in [actor for actor, activation in self._actors.items() if activation.lane is lane]:
            del self._actors[actor]

    def clear(self) -> None:
        """Forgets every actor."""
        self._actors.clear()

    def passivate(self, now: float, *, at_most: int | None = None) -> int:
        """Evicts idle activations, and the oldest beyond the limit (or beyond `at_most`).

        None whose execution runs, or whose key is held and goes on soon: what was loaded for that would be loaded again
        and again. Gives how many went. `now` is monotonic seconds.
        """
        limit = self._limit if at_most is None else at_most
        gone: list[str] = []
        running: dict[Lane, set[str]] = {}
        excess = len(self._actors) - limit
        for actor, activation in self._actors.items():
            if len(gone) >= excess and now - activation.used_at < self._idle_s:
                break
            lane = activation.lane
            if lane not in running:
                running[lane] = {active for active, _ in lane.active}
            if actor not in running[lane] and (actor not in lane.held or actor in lane.resting):
                gone.append(actor)
        for actor in gone:
            del self._actors[actor]
        self.passivated += len(gone)
        return len(gone)
