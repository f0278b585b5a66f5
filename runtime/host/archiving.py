"""What archiving needs of a log and of a store. The adapters are in runtime/postgres/ and runtime/archive/.

An actor's events leave the log's table from the first on, in order, and the newest one never does: by it everybody sees
how far the actor's log goes, and that something before it is archived.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from schemas.segment import ActorEvents, Segment, SegmentEvent


class Base(NamedTuple):
    """The state of an actor where its last archived event left it, and which fold made it."""

    seq: int
    fold_version: str
    state: str


class Candidate(NamedTuple):
    """An actor some of whose rows may be archived: at most those from `first_seq` to `upto`."""

    actor: str
    tenant: str
    key: str
    lane: int
    partition: int
    first_seq: int
    upto: int


class Packed(NamedTuple):
    """What is to be archived of an actor, and its state behind that."""

    candidate: Candidate
    events: ActorEvents
    base: Base


class NotArchived(Exception):
    """What was to be recorded is not what the log holds: somebody else archived, or deleted, it meanwhile."""


class ArchiveLog(Protocol):
    """On a connection of its own. Everything raises LogUnavailable."""

    async def log_id(self) -> str:
        """Which log this is."""

    async def lock(self, lanes: Sequence[int]) -> list[int]:
        """Those of the lanes that nobody else archives now; nobody else does until `unlock`, or until we are gone."""

    async def unlock(self, lanes: Sequence[int]) -> None:
        """Lets others archive them."""

    def candidates(
        self, kind: str, lanes: Sequence[int], keep_events: int, before: datetime.datetime
    ) -> AsyncIterator[list[Candidate]]:
        """Actors with more rows than are kept, the oldest of which are from before that time; in pages, some empty."""

    async def base(self, actor: str) -> Base | None:
        """The actor's state behind its last archived event; None when none is archived."""

    def rows(
        self, candidate: Candidate, from_seq: int, upto: int
    ) -> AsyncIterator[list[tuple[int, SegmentEvent]]]:
        """(lane, event) of an actor's rows, in pages that are not empty."""

    async def readers(self) -> dict[int, int]:
        """Lane → the position that the slowest reader who said so has reached."""

    async def record(self, store: str, segment: Segment, packed: Sequence[Packed]) -> None:
        """Writes down where the events lie, and deletes their rows, in one transaction. Raises NotArchived."""

    async def close(self) -> None:
        """Closes the connection."""


class SegmentStore(Protocol):
    """See runtime.archive.stores.Store."""

    url: str

    async def put(self, name: str, data: bytes) -> None: ...
    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes: ...
