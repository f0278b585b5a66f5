"""What a pod is put together from beside its own code. runtime/host/assembly.py makes these for real servers."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from runtime.client.connection import Connection
from runtime.client.objects import Objects
from runtime.clock import Clock
from runtime.host.archiver import Archiver
from runtime.host.broker import CommandStream, Deliver, LaneReader, Publisher
from runtime.host.front import Registered
from runtime.host.journals import Handling
from runtime.host.keeping import Keeping
from runtime.host.ports import CommitLog, Ownership
from runtime.host.reading import Groups, LogReader, Snapshots, TimerSource
from runtime.host.threads import Threads
from runtime.index import IndexStore


class CallFront(Protocol):
    """The plain request/reply front; see runtime.host.front."""

    async def open(self) -> None:
        """Registers it. Raises NotConnected."""

    async def close(self) -> None:
        """Withdraws it."""


async def nothing_elsewhere() -> int | None:
    """What `Parts.oldest_elsewhere` gives where there is one CMD stream."""
    return None


@dataclasses.dataclass(slots=True)
class Parts:
    """The ports of one pod. Those of the log have connections of their own, which the pod closes.

    `oldest_elsewhere` gives when the oldest message of the CMD streams that this pod does not read was stored (Unix
    nanoseconds), and None when they hold none. The owner of `first_partition` keeps house for this pod's place.
    """

    ownership: Ownership
    log: CommitLog
    reader: LogReader
    timers: TimerSource
    snapshots: Snapshots
    keeping: Keeping
    groups: Groups
    objects: Objects
    publisher: Publisher
    commands: LaneReader
    stream: CommandStream
    threads: Threads
    oldest_elsewhere: Callable[[], Awaitable[int | None]] = nothing_elsewhere
    first_partition: int = 0
    handling: Handling = dataclasses.field(default_factory=Handling)
    index: IndexStore | None = None
    """The documents of indexes."""
    archiver: Archiver | None = None
    """Moves old events to the archive, where the pod knows one."""


class Assembly(Protocol):
    """Makes the parts of a pod."""

    log_name: str
    """What the log is called in errors."""

    async def connect(self, pod: str, on_reconnect: Callable[[], Awaitable[None]]) -> Connection:
        """The pod's connection to the broker, with its streams there. Raises NotConnected or Misconfigured."""

    async def prepare(self) -> bytes:
        """Brings the log up to date, and gives the secret that its pods share. Raises NotConnected."""

    def parts(
        self, connection: Connection, pod: str, capabilities: Mapping[str, str], deliver: Deliver, clock: Clock
    ) -> Parts:
        """Everything else. `capabilities` is kind → its capability as JSON; `deliver` gets the lanes' messages."""

    def front(self, connection: Connection, registered: Registered, partitions: int, token: str) -> CallFront:
        """The plain request/reply front."""
