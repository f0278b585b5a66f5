"""What the host needs of a broker: the lanes of a CMD stream read in order, its upkeep, and publishing with an answer.

The adapters are in runtime/jetstream/. Core NATS (replies, queries, services) needs no port: the host speaks it through
runtime.client.connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from runtime.host.ports import OutboxRow


class Feed:
    """The cursor of one lane. `taken` is the stream sequence of the last message handed on, `taken_at` its time (ns).

    `room` says how many more messages the lane can hold now. All else belongs to the reader, but for what
    runtime.host.shares reads a lane's tenants apart with:

    Attributes:
        tenant: the one whose messages alone it brings (as a token); None for all.
        apart: tenants whose messages it leaves to feeds of their own, each from `taken` on as it was when they began.
        left: the sequence of the last message that was left to this feed.
        behind: how many messages waited in the broker behind the last one that came.
        crowded: told the tenant of each message that is handed on while many wait.
        went_back: told that the broker went back in time, when the lane has several feeds.
        batch: messages asked for at a time; 0 for as many as the reader usually does.
    """

    __slots__ = (
        "apart",
        "batch",
        "behind",
        "closed",
        "consumer",
        "crowded",
        "delivered",
        "generation",
        "last_seen",
        "left",
        "name",
        "outstanding",
        "partition",
        "reading",
        "restart",
        "room",
        "taken",
        "taken_at",
        "tenant",
        "went_back",
    )

    def __init__(
        self,
        name: str,
        partition: int,
        taken: int,
        taken_at: int,
        room: Callable[[], int],
        *,
        tenant: str | None = None,
        batch: int = 0,
    ) -> None:
        self.name = name
        self.partition = partition
        self.taken = taken
        self.taken_at = taken_at
        self.room = room
        self.tenant = tenant
        self.batch = batch
        self.apart: dict[str, Feed] = {}
        self.left = 0
        self.behind = 0
        self.crowded: Callable[[str], None] | None = None
        self.went_back: Callable[[], None] | None = None
        self.consumer: str | None = None
        self.delivered = 0
        self.generation = 0
        self.outstanding = 0
        self.last_seen = 0.0
        self.reading = False
        self.closed = False
        self.restart: asyncio.Task[None] | None = None


Deliver = Callable[[Feed, str, int, int, bytes, bytes], None]
"""(feed, subject, stream sequence, timestamp in ns, header block, body)."""


class LaneReader(Protocol):
    """Hands on the messages of lanes, each lane's in the order of the stream and without a gap.

    After a broker went back in time a lane is read again from the beginning.
    """

    stream: str
    """The stream that it reads."""

    restarts: int
    """How often a lane had to be read anew."""

    async def open(self) -> None:
        """Makes it ready to read. Raises NotConnected."""

    def start(self, feed: Feed) -> None:
        """Starts reading a lane behind `feed.taken`."""

    def stop(self, feed: Feed) -> None:
        """Stops reading a lane; nothing is delivered for it any more."""

    def restart_all(self, why: str) -> None:
        """Reads every lane anew: the connection was another one in between."""

    def pull(self, feed: Feed) -> None:
        """The lane has room again."""

    async def watch(self) -> None:
        """Notices lanes that fell silent, for ever."""

    async def caught_up(self, feed: Feed, upto: int) -> bool:
        """Whether there is no message of this lane behind the last one handed on and up to sequence `upto`.

        Raises NotConnected.
        """


class Publisher(Protocol):
    """Publishing with the broker's acknowledgement."""

    @property
    def max_bytes(self) -> int:
        """The largest message, headers included."""

    async def open(self) -> None:
        """Makes it ready to publish. Raises NotConnected."""

    async def publish_all(self, rows: Sequence[OutboxRow]) -> int:
        """Publishes; gives how many from the start were acknowledged. Raises NotConnected.

        A command never overtakes one to the same actor that came before it.
        """


class StreamState(NamedTuple):
    """What a CMD stream holds: sequences, how many messages, and bytes. `max_bytes` is 0 when nothing limits it."""

    first_seq: int
    last_seq: int
    messages: int
    bytes: int
    max_bytes: int


class StoredMessage(NamedTuple):
    """A message of a CMD stream; `at` in Unix nanoseconds."""

    subject: str
    seq: int
    at: int
    block: bytes
    body: bytes


class CommandStream(Protocol):
    """A CMD stream as a whole, for its upkeep. Everything raises NotConnected when the broker does not answer."""

    async def state(self) -> StreamState:
        """What it holds now."""

    async def message_time(self, seq: int) -> int | None:
        """When a message was stored (Unix nanoseconds), or None when there is none of that sequence."""

    async def next(self, subjects: str, seq: int) -> StoredMessage | None:
        """The first message of these subjects from `seq` on."""

    async def kinds(self) -> set[str]:
        """The kinds that its messages are for."""

    async def purge(self, upto: int) -> None:
        """Deletes every message below `upto`."""
